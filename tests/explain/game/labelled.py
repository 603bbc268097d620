"""A device that is only a label on tensors of the CPU: operations that mix devices fail, as they do on a GPU.

It shows that a program puts every tensor where it belongs, without a GPU. It shows nothing of speed, of rounding, or of
operations that a GPU does not have.
"""

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

LABEL = torch.device("meta")
ACROSS = {"to", "cpu", "copy_", "_has_compatible_shallow_copy_type"}


class Labelled(TorchFunctionMode):
    """While it is entered, the device LABEL has data. Every labelled storage is kept, so its address stays its own."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, torch.UntypedStorage] = {}

    def is_on(self, x: torch.Tensor) -> bool:
        return x.untyped_storage().data_ptr() in self.storages

    def _label(self, tree: Any) -> None:
        for x in tree_leaves(tree):
            if isinstance(x, torch.Tensor) and x.numel():
                self.storages[x.untyped_storage().data_ptr()] = x.untyped_storage()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = (args, kwargs or {})
        if func is torch.device or getattr(func, "__name__", "") == "_parse_to":
            return func(*args, **given[1])
        if torch.compiler.is_exporting() or any(map(is_traced, tree_leaves(given))):
            return func(*args, **given[1])  # a trace; its constants share the storages of the labelled weights
        tensors = [x for x in tree_leaves(given) if isinstance(x, torch.Tensor)]
        name = getattr(func, "__name__", "").split(".")[0]
        devices = [torch.device(x) for x in tree_leaves(given) if is_device(x)]
        args, kwargs = tree_map(lambda x: torch.device("cpu") if is_device(x) else x, given)
        on = [x for x in tensors if self.is_on(x)]
        if func == torch.Tensor.device.__get__:
            return LABEL if on else torch.device("cpu")
        if on and name in ("numpy", "__array__"):
            raise AssertionError("numpy() of a tensor on the device")
        off = [x for x in tensors if not self.is_on(x) and x.numel() and x.ndim]
        if on and off and name not in ACROSS and not name.startswith("__set__"):
            raise AssertionError(f"{name}: tensors of two devices: {[x.shape for x in on]}, {[x.shape for x in off]}")
        out = func(*args, **kwargs)
        if any(map(is_traced, tree_leaves(out))):
            return out
        if name == "cpu" or (name == "to" and torch.device("cpu") in devices):
            return out.clone() if on else out
        if LABEL in devices and not on and any(out is x for x in tensors):
            out = out.clone()
        if on or LABEL in devices:
            self._label(out)
            self._label(args[:1] if name.startswith("__set__") else ())
        return out


def is_traced(x: object) -> bool:
    if isinstance(x, torch.Tensor):
        try:
            x.untyped_storage().data_ptr()
        except RuntimeError:  # a tensor of a trace has no data
            return True
    return isinstance(x, torch.SymInt)


def is_device(x: object) -> bool:
    return isinstance(x, torch.device) or (isinstance(x, str) and x in ("meta", "cpu"))
