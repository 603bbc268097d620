"""A torch network → network.py and weights.safetensors, whatever its class and wherever the class was defined.

torch.export turns the network into a program of ATen operations. torch_source writes that program as Python source.
"""

import copy
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from whyserve.errors import ModelFault, first_line
from whyserve.export.package.torch_source import write_program

# More than 1, because torch.export may take a batch of 1 for a constant.
TRACED_ROWS = 3
# Operations that behave differently in training mode, and a test of their arguments for that mode.
TRAINING: Mapping[str, Callable[[Any], bool]] = {
    "aten.dropout.default": lambda args: args[2] is True and args[1] > 0,
    "aten.batch_norm.default": lambda args: args[5] is True,
}


@dataclass(frozen=True, slots=True)
class TorchModel:
    """A torch network. names: of its inputs, in the order of the call. program: if the caller gave a program."""

    module: nn.Module
    names: tuple[str, ...]
    program: ExportedProgram | None = None
    framework = "torch"

    @classmethod
    def of(cls, model: nn.Module | ExportedProgram) -> "TorchModel":
        """Copy a network, so that the caller's one keeps its mode and device. Raises ModelFault."""
        if isinstance(model, ExportedProgram):
            _check_program(model)
            return cls(model.module(), tuple(map(str, model.graph_signature.user_inputs)), model)
        parameters = inspect.signature(model.forward).parameters.values()
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        names = tuple(p.name for p in positional if p.default is p.empty)
        return cls(copy.deepcopy(model).cpu().eval(), names)

    @property
    def dtype(self) -> str:
        """The floating-point type of the weights."""
        dtypes = {tensor.dtype for tensor in self.module.state_dict().values() if tensor.is_floating_point()}
        return "float64" if dtypes == {torch.float64} else "float32"

    def run(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The output for rows, (rows, …) by input. Raises ModelFault, and whatever the network raises."""
        with torch.no_grad():
            result = self.module(*(torch.from_numpy(arrays[name]) for name in self.names))
        if not isinstance(result, torch.Tensor):
            raise ModelFault(
                f"the network returns an object of type {type(result).__name__}; one tensor of shape (rows, outputs) is"
                " needed"
            )
        table: np.ndarray = result.numpy()
        return table

    def files(self, arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
        """The content of network.py and weights.safetensors. arrays: rows for tracing. Raises ModelFault."""
        program = self.program
        if program is None:
            program = self._traced(arrays)
            _check_program(program)
        return write_program(program)

    def _traced(self, arrays: Mapping[str, np.ndarray]) -> ExportedProgram:
        batch = torch.export.Dim("batch")
        given = (arrays[name] for name in self.names)
        rows = tuple(torch.from_numpy(np.resize(array, (TRACED_ROWS, *array.shape[1:]))) for array in given)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # for example, torch warns about the list of weights of an LSTM
                return torch.export.export(self.module, rows, dynamic_shapes=tuple({0: batch} for _ in rows))
        except Exception as error:
            raise ModelFault(
                f"torch.export cannot trace the network for any number of rows: {first_line(error)};"
                " Python code (if, for, sizes) must depend neither on the values nor on the number of rows"
            ) from error


def _check_program(program: ExportedProgram) -> None:
    """Check that only the first dimension of each input, the rows, is free, and that the program is in eval mode."""
    inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if TRAINING.get(str(node.target), lambda _: False)(node.args):
            raise ModelFault(
                "the program was exported in training mode; call network.eval() before torch.export.export"
            )
        if node.op != "placeholder" or node.name not in inputs:
            continue
        if not isinstance(node.meta["val"], torch.Tensor):
            raise ModelFault(
                f'input "{node.name}" of the program is not a tensor; export the network with tensors only'
            )
        free = [isinstance(size, torch.SymInt) for size in node.meta["val"].shape]
        if not free or not free[0]:
            raise ModelFault(
                f'input "{node.name}" of the program has a fixed number of rows;'
                ' export the network with dynamic_shapes={0: torch.export.Dim("batch")} for each input'
            )
        if any(free[1:]):
            raise ModelFault(
                f'dimension {free.index(True, 1)} of input "{node.name}" of the program has no fixed size;'
                " only the number of rows, dimension 0, may be free"
            )
