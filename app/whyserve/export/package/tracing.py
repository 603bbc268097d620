"""Trace a torch network into a program of ATen operations, and say why a network cannot be traced."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from whyserve.errors import ModelFault, first_line
from whyserve.export.package.faults import depends_on_count, untraceable
from whyserve.export.package.torch_operations import HALF, Wrapped

PACKED = (
    "the network packs sequences (pack_padded_sequence), whose sizes depend on the values of the lengths; run the"
    " recurrent layer on the padded rows and take the last step of each row, which is the same for one direction:"
    " steps, _ = self.rnn(x); last = steps.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, steps.shape[2]))[:, 0]"
)
EXPORT_AGAIN = (
    "build the network from its Python class, load the weights (network.load_state_dict(scripted.state_dict())) and"
    " package it, or package torch.export.export(network.eval(), (rows,),"
    ' dynamic_shapes=({0: torch.export.Dim("batch")},))'
)


def traced(module: nn.Module, rows: Sequence[torch.Tensor]) -> ExportedProgram:
    """The program of a network, module(*inputs), for any number of rows. rows: a few, (rows, …) per input.

    Raises ModelFault.
    """
    _convert_scripts(module, rows)
    batch = torch.export.Dim("batch")
    free = (tuple({0: batch} for _ in rows),)
    try:
        with _quiet():
            return torch.export.export(module, tuple(rows), dynamic_shapes=free)
    except Exception as error:
        if depends_on_count(error):
            # Strict mode reads the Python code, and knows len(x) for any number of rows. It takes less other code.
            with suppress(Exception), _quiet():
                return torch.export.export(module, tuple(rows), dynamic_shapes=free, strict=True)
        if "aten._pack_padded_sequence.default" in Recorder.on(module, rows).names:
            raise ModelFault(PACKED) from error
        raise ModelFault(untraceable(error)) from error


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """names: of the operations that a network runs. half: the half-precision type of a result, if there is one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()
        self.half: torch.dtype | None = None

    @classmethod
    def on(cls, module: nn.Module, rows: Sequence[torch.Tensor]) -> "Recorder":
        seen = cls()
        try:
            with _quiet(), seen, torch.no_grad():
                module(*rows)
        except Exception:  # torch.cond cannot run while its operations are recorded, and it remembers the failure
            torch.compiler.reset()
        return seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.names.add(str(func))
        found = (x.dtype for x in tree_leaves(result) if isinstance(x, torch.Tensor) and x.dtype in HALF)
        self.half = self.half or next(found, None)
        return result


@contextmanager
def _quiet() -> Iterator[None]:
    # torch prints a whole program that it cannot trace, and warns for example about the list of weights of an LSTM.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _convert_scripts(module: nn.Module, rows: Sequence[torch.Tensor]) -> None:
    """Replace each TorchScript part by torch's own conversion. Raises ModelFault if torch cannot convert it."""
    from torch._export.converter import TS2EPConverter  # noqa: PLC0415  # it loads slowly

    for parent in [part for part in module.modules() if not isinstance(part, torch.jit.ScriptModule)]:
        for name, child in parent.named_children():
            if not isinstance(child, torch.jit.ScriptModule):
                continue
            given: list[Any] = []

            def keep(part: nn.Module, *args: Any, into: list[Any] = given, **kwargs: Any) -> Any:
                into[:] = args, kwargs
                return part(*args, **kwargs)

            setattr(parent, name, Wrapped(child, keep))
            try:
                with _quiet(), torch.no_grad():
                    module(*rows)
                    setattr(parent, name, TS2EPConverter(child, *given).convert().module())
            except Exception as error:
                raise ModelFault(f"torch cannot convert TorchScript ({first_line(error)}); {EXPORT_AGAIN}") from error
