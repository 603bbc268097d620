"""Code around a torch network: in front of it, behind it, or in float32 where its own code asks for half precision."""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from whyserve.export.package.operations import Operations

HALF = (torch.float16, torch.bfloat16)
OPERATIONS = Operations(
    channels_last=False,
    tensor=torch.Tensor,
    constant=torch.tensor,
    reduce=lambda how, x, axes: getattr(torch, {"max": "amax", "min": "amin"}.get(how, how))(x, axes),
    transpose=torch.permute,
    flatten=torch.flatten,
    take=lambda x, places: x.index_select(-1, torch.tensor(places)),
    column=lambda x: x.unsqueeze(1),
    cast=lambda x, dtype: x.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype),
    join=lambda parts: torch.cat(parts, -1),
    lookup=lambda table, codes: functional.embedding(codes, torch.tensor(table)),
    clip=torch.clamp,
    fill=lambda x, value: torch.where(torch.isnan(x), value, x),
)


class Wrapped(nn.Module):
    """A network that other code calls: forward(…) is call(network, …)."""

    def __init__(self, network: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.network, self.call = network, call
        self.training = False  # the network is in eval mode; the module of a program has no eval()

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        return self.call(self.network, *inputs, **keywords)


def half_dtype(module: nn.Module) -> torch.dtype | None:
    """The half-precision type of the weights, if some have one."""
    return next((x.dtype for x in (*module.parameters(), *module.buffers()) if x.dtype in HALF), None)


def code_in_float32(network: nn.Module) -> nn.Module:
    """A network with float32 wherever its code asks for half precision, as torch.autocast and x.half() do."""

    def call(network: nn.Module, *inputs: torch.Tensor) -> Any:
        with float32_only():
            return network(*inputs)

    return Wrapped(network, call)


def in_float32(module: nn.Module) -> nn.Module:
    """A copy whose half-precision weights are float32. Weights of other types stay as they are."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what the copy of a program calls
        converted: nn.Module = copy.deepcopy(module)._apply(lambda x: x.float() if x.dtype in HALF else x)  # type: ignore[no-untyped-call]
        return converted


@contextmanager
def float32_only() -> Iterator[None]:
    """float32 wherever code asks for half precision. A network may enter torch.autocast itself, so that is switched
    off at its class.
    """
    kept = torch.autocast.__enter__, torch.autocast.__exit__
    torch.autocast.__enter__, torch.autocast.__exit__ = lambda self: self, lambda *_: None  # type: ignore
    try:
        with _Float32():
            yield
    finally:
        torch.autocast.__enter__, torch.autocast.__exit__ = kept  # type: ignore


class _Float32(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.half, torch.Tensor.bfloat16):
            func = torch.Tensor.float
        replaced = tree_map(lambda x: torch.float32 if isinstance(x, torch.dtype) and x in HALF else x, (args, kwargs))
        return func(*replaced[0], **replaced[1] or {})
