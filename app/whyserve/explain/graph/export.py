"""A network as a flat list of ATen operations, sorted by what each depends on.

torch.export traces the network with a symbolic batch and decomposes it to core ATen, functionalised: module code,
functional code and Keras's torch backend come down to one vocabulary, and running the list changes nothing.
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
from whyserve.explain.graph.program import Program
from whyserve.explain.graph.reader import WHOLE, Reader

Lower = Callable[[torch.export.ExportedProgram], torch.export.ExportedProgram]

# torch.export patches torch while it traces: one trace at a time in a process.
_tracing = threading.Lock()

FIXED = "its code fixes the number of rows, as len(x) and a loop over rows do; x.shape[0] leaves it open"
DECIDED = "what it computes depends on how many rows there are, as torch.cdist does unless told a compute_mode"


def trace(module: nn.Module, example: tuple[torch.Tensor, ...]) -> Program:
    """Trace `module` at `example`, one tensor an input, rows first.

    Raises UnsupportedNetwork when torch.export cannot, as with a fixed batch or control flow that depends on values,
    and when a shape shows that rows are mixed.
    """
    return _program(module, example, _apart)


def operations(module: nn.Module, example: tuple[torch.Tensor, ...]) -> Callable[..., Any]:
    """The network's operations, not taken apart, as a function of its inputs by position. Raises as trace does."""
    program = _program(module, example, _functional)

    def run(*inputs: torch.Tensor) -> Any:
        values = program.around(inputs[0].shape[0])
        values.update(zip(program.inputs, inputs, strict=True))
        for step in program.live:
            values[step.slot] = step.run(values)
        return values[program.output]

    return run


def _program(module: nn.Module, example: tuple[torch.Tensor, ...], lower: Lower) -> Program:
    if example[0].shape[0] < 2:
        example = tuple(torch.cat([x, x]) for x in example)  # one row would be taken for a constant
    with _tracing, _quiet(module):
        try:
            exported = lower(_export(module, example))
        except Exception as error:
            reason = _reason(error)
            raise UnsupportedNetwork(f"the network cannot be traced with a variable batch: {reason}") from error
    return Reader(exported).program()


def _reason(error: Exception) -> str:
    said = str(error)
    if "specialized it to be a constant" in said:
        return FIXED
    return DECIDED if "Constraints violated" in said else first_line(error)


class _Positional(nn.Module):
    """Gives a module of any signature one that is a plain list of tensors."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.training = module.training
        self.module = module

    def forward(self, inputs: list[torch.Tensor]) -> Any:
        return self.module(*inputs)


@contextmanager
def _quiet(module: nn.Module) -> Iterator[None]:
    # With gradients on and the fast path off an encoder is traced as the operations that it is made of; and whether
    # its mask happens to be causal is a hint that would look at values.
    fast, detect = torch.backends.mha.get_fastpath_enabled(), transformer._detect_is_causal_mask
    # Keras's rolled loop asks for the length of a batch, which fixes it; unrolled it computes the same.
    rolled = [layer for layer in _keras_layers(module) if getattr(layer, "unroll", None) is False]
    # The best order of a product of three depends on the number of rows, which would fix it.
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
    """Layers within layers are no submodules to torch."""
    nested = [getattr(part, "_flatten_layers", None) for part in module.modules()]
    return [layer for layers in nested if layers is not None for layer in layers()]


def _export(module: nn.Module, example: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=2)
    shapes = ([{0: batch} for _ in example],)
    return torch.export.export(_Positional(module), (list(example),), dynamic_shapes=shapes, strict=False)


def _functional(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Nothing done in place."""
    functional: torch.export.ExportedProgram = exported.run_decompositions({})
    return functional


def _apart(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """In the operations that have rules."""
    table = CustomDecompTable()  # type: ignore[no-untyped-call]
    for operation, parts in PARTS.items():
        table[operation] = parts
    for operation in (torch.ops.aten.logsumexp.default, *_recurrent(exported)):
        table.pop(operation)  # type: ignore[no-untyped-call]
    decomposed: torch.export.ExportedProgram = exported.run_decompositions(table)
    return decomposed


def _recurrent(exported: torch.export.ExportedProgram) -> set[Any]:
    """Recurrent layers that are left whole: those whose weights are parameters, and not reckoned from something."""
    calls = [node for node in exported.graph.nodes if node.target in WHOLE]
    return {
        operation
        for operation in WHOLE
        if all(weight.op == "placeholder" for node in calls if node.target is operation for weight in node.args[2])
    }
