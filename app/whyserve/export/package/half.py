"""Half precision in a torch network: found, and replaced by float32 in its weights and in its code."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from whyserve.export.package.torch_operations import Wrapped

HALF = (torch.float16, torch.bfloat16)


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
        args, kwargs = tree_map(_replaced, (args, kwargs or {}))
        return func(*args, **kwargs)


def _replaced(value: Any) -> Any:
    return torch.float32 if isinstance(value, torch.dtype) and value in HALF else value
