"""A network as a flat list of ATen operations, sorted by what each depends on.

torch.export traces the network with a symbolic batch size and decomposes it to functional core ATen operations.
Module code, functional code and Keras's torch backend all become the same few operations.
"""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.export.decomp_utils import CustomDecompTable
from torch.nn.modules import transformer

from whyserve.errors import UnsupportedNetwork, first_line
from whyserve.explain.graph.decompositions import PARTS
from whyserve.explain.graph.program import Program, fused
from whyserve.explain.graph.reader import WHOLE, Reader

Lower = Callable[[torch.export.ExportedProgram], torch.export.ExportedProgram]

# torch.export patches torch while it traces: one trace at a time in a process.
_tracing = threading.Lock()

FIXED = "its code fixes the number of rows, as len(x) and a loop over rows do; use x.shape[0] and no such loop"
DECIDED = "its operations depend on how many rows there are, as in torch.cdist without a compute_mode"


def trace(module: nn.Module, example: tuple[torch.Tensor, ...]) -> Program:
    """Trace `module` at `example`, one tensor per input, rows first.

    Raises UnsupportedNetwork if torch.export cannot trace it, as with a fixed batch size or control flow that depends
    on values, and if a shape shows that rows are mixed.
    """
    return fused(_program(module, example, _decomposed))


def operations(module: nn.Module, example: tuple[torch.Tensor, ...]) -> Callable[..., Any]:
    """The network's operations, not decomposed, as a function of its inputs by position. Raises as trace does."""
    program = _program(module, example, _functional)

    def run(*inputs: torch.Tensor) -> Any:
        values = program.fixed_values(inputs[0].shape[0])
        values.update(zip(program.inputs, inputs, strict=True))
        for step in program.live:
            values[step.slot] = step.run(values)
        return values[program.output]

    return run


def _program(module: nn.Module, example: tuple[torch.Tensor, ...], lower: Lower) -> Program:
    if example[0].shape[0] < 2:
        example = tuple(torch.cat([x, x]) for x in example)  # torch.export takes a size of 1 for a constant
    with _tracing, traceable(module):
        try:
            exported = lower(_export(module, example))
        except Exception as error:
            reason = _reason(error)
            raise UnsupportedNetwork(f"the network cannot be traced with a variable batch: {reason}") from error
    return Reader(exported).program()


def _reason(error: Exception) -> str:
    message = str(error)
    if "specialized it to be a constant" in message:
        return FIXED
    return DECIDED if "Constraints violated" in message else first_line(error)


class _Positional(nn.Module):
    """A module of any signature, called with a list of tensors."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.training = module.training
        self.module = module

    def forward(self, inputs: list[torch.Tensor]) -> Any:
        return self.module(*inputs)


@contextmanager
def traceable(module: nn.Module) -> Iterator[None]:
    """A context in which torch.export can trace the layers of torch and Keras for any number of rows."""
    # With gradients on and the fast path off, torch's transformer encoder is traced as separate operations. It also
    # tests whether its mask is causal, which would read values; this is a hint for speed only.
    fast, detect = torch.backends.mha.get_fastpath_enabled(), transformer._detect_is_causal_mask
    # Keras's rolled loop reads the length of the batch, which fixes it. Unrolled, it computes the same.
    rolled = [layer for layer in _keras_layers(module) if getattr(layer, "unroll", None) is False]
    # opt_einsum chooses the order of a product of three by the number of rows, which would fix this number.
    ordered, torch.backends.opt_einsum.enabled = torch.backends.opt_einsum.enabled, False
    torch.backends.mha.set_fastpath_enabled(False)
    transformer._detect_is_causal_mask = lambda mask, is_causal=None, size=None: bool(is_causal)
    for layer in rolled:
        layer.unroll = True
    try:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        for layer in rolled:
            layer.unroll = False
        torch.backends.mha.set_fastpath_enabled(fast)
        torch.backends.opt_einsum.enabled = ordered
        transformer._detect_is_causal_mask = detect


def _keras_layers(module: nn.Module) -> list[Any]:
    """All Keras layers. torch does not see a layer within a layer as a submodule."""
    nested = [getattr(part, "_flatten_layers", None) for part in module.modules()]
    return [layer for layers in nested if layers is not None for layer in layers()]


def _export(module: nn.Module, example: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=2)
    shapes = ([{0: batch} for _ in example],)
    return torch.export.export(_Positional(module), (list(example),), dynamic_shapes=shapes, strict=False)


def _functional(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Without operations in place."""
    functional: torch.export.ExportedProgram = exported.run_decompositions({})
    return functional


def _decomposed(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Decomposed into operations that have rules."""
    table = CustomDecompTable()  # type: ignore[no-untyped-call]
    for operation, parts in PARTS.items():
        table[operation] = parts
    for operation in (torch.ops.aten.logsumexp.default, *_recurrent(exported)):
        table.pop(operation)  # type: ignore[no-untyped-call]
    decomposed: torch.export.ExportedProgram = exported.run_decompositions(table)
    return decomposed


def _recurrent(exported: torch.export.ExportedProgram) -> set[Any]:
    """Recurrent operations to keep whole: those whose weights are parameters and not computed from other values."""
    calls = [node for node in exported.graph.nodes if node.target in WHOLE]
    return {
        operation
        for operation in WHOLE
        if all(weight.op == "placeholder" for node in calls if node.target is operation for weight in node.args[2])
    }
