"""A torch network → network.py and weights.safetensors, whatever its class and wherever that was written.

torch.export reduces a network to a program of ATen operations; the program is written down as Python source and its
tensors as safetensors. torch.export.save would do, but for what it pickles: example inputs and some tensors.
"""

import copy
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from whyserve.errors import ModelFault, first_line
from whyserve.model.spec import NETWORK_FILE, WEIGHTS_FILE

# Bare names that torch's code generator knows of; the last two stand in no plain program.
KNOWN_GLOBALS = {"torch", "device", "inf", "nan", "math", "operator", "NoneType", "fx_pytree", "pytree"}
# Operations that act otherwise in training, and how their arguments show it.
TRAINING: Mapping[str, Callable[[Any], bool]] = {
    "aten.dropout.default": lambda args: args[2] is True and args[1] > 0,
    "aten.batch_norm.default": lambda args: args[5] is True,
}
SOURCE = '''"""Written by whyserve.package from a torch.export program: the network as ATen operations."""

import math
import operator
from math import inf, nan

import torch
from torch import device, nn

# The program's name for each tensor, here and in weights.safetensors: the network's own name, the shape and the type.
TENSORS = {tensors}


{code}

class ExportedModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, (_, shape, dtype) in TENSORS.items():
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))

    def forward(self, {inputs}):
        return program(self, *(getattr(self, name) for name in TENSORS), {inputs})[0]


def build() -> nn.Module:
    return ExportedModule()
'''


@dataclass(frozen=True, slots=True)
class TorchModel:
    """A torch network, or a program of one, as packaging sees it. names: its inputs', in the order of its call."""

    module: nn.Module
    names: tuple[str, ...]
    program: ExportedProgram | None = None

    @classmethod
    def of(cls, model: nn.Module | ExportedProgram) -> "TorchModel":
        """The caller's network stays as it is: in training or not, and wherever it lies."""
        if isinstance(model, ExportedProgram):
            _check_program(model)
            return cls(model.module(), tuple(map(str, model.graph_signature.user_inputs)), model)
        parameters = inspect.signature(model.forward).parameters.values()
        named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        needed = [p.name for p in parameters if p.default is p.empty and p.name in named]
        return cls(copy.deepcopy(model).cpu().eval(), tuple(needed))

    @property
    def dtype(self) -> str:
        """The floating-point type of its weights."""
        kinds = {tensor.dtype for tensor in self.module.state_dict().values() if tensor.is_floating_point()}
        return "float64" if kinds == {torch.float64} else "float32"

    def run(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        with torch.no_grad():
            result = self.module(*(torch.from_numpy(arrays[name]) for name in self.names))
        if not isinstance(result, torch.Tensor):
            raise ModelFault(f"the network returns {type(result).__name__}; it must return one tensor")
        table: np.ndarray = result.numpy()
        return table

    def files(self, arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
        """network.py and weights.safetensors. arrays: a few rows to trace with. Raises ModelFault."""
        program = self.program
        if program is None:
            program = self._traced(arrays)
            _check_program(program)
        return write_program(program)

    def _traced(self, arrays: Mapping[str, np.ndarray]) -> ExportedProgram:
        batch = torch.export.Dim("batch")
        rows = tuple(torch.from_numpy(arrays[name]) for name in self.names)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an LSTM's list of its own weights, for one
                return torch.export.export(self.module, rows, dynamic_shapes=tuple({0: batch} for _ in rows))
        except Exception as error:
            raise ModelFault(
                f"torch.export cannot follow the network for any number of rows: {first_line(error)};"
                " keep Python's if and for, and sizes, free of the values and the number of rows"
            ) from error


def _check_program(program: ExportedProgram) -> None:
    """The first dimension of every input is the batch, and free, no other is; and it is a program of eval mode."""
    wanted = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if TRAINING.get(str(node.target), lambda _: False)(node.args):
            raise ModelFault("the program was exported in training mode; call eval() on the network before")
        if node.op != "placeholder" or node.name not in wanted:
            continue
        if not isinstance(node.meta["val"], torch.Tensor):
            raise ModelFault(f'the program\'s input "{node.name}" is not a tensor; export it with tensors only')
        free = [isinstance(size, torch.SymInt) for size in node.meta["val"].shape]
        if not free or not free[0]:
            raise ModelFault(
                f'the program\'s input "{node.name}" has a fixed number of rows;'
                " export it with dynamic_shapes of {0: Dim(...)} for each input"
            )
        if any(free[1:]):
            raise ModelFault(
                f'the program\'s input "{node.name}" has a dimension other than the rows that is not fixed;'
                " export it with that size fixed"
            )


def write_program(program: ExportedProgram) -> dict[str, bytes]:
    """Source and weights of a program. Raises ModelFault for what source cannot hold."""
    signature = program.graph_signature
    if signature.buffers_to_mutate or getattr(signature, "user_inputs_to_mutate", None):
        raise ModelFault("the network changes its buffers or inputs as it runs; in eval mode it must not")
    for node in program.graph.nodes:
        if node.op == "get_attr" or (node.op == "call_function" and not _is_plain(node.target)):
            raise ModelFault(
                f"the network uses {node.target}, which is control flow or an operation that is not torch's own;"
                " write it with torch's operations (torch.where, for one)"
            )
    tensors, table = _tensors(program)
    plain = torch.fx.Graph()
    plain.output(plain.graph_copy(program.graph, {}))
    written = plain.python_code("self")
    if unknown := set(written.globals) - KNOWN_GLOBALS:
        raise ModelFault(f"the network uses {min(unknown)}, which is not torch's own")
    code = written.src.strip().replace("def forward(", "def program(", 1) + "\n"
    # Each input by name: torch.onnx takes a call with *inputs for one input that is a tuple.
    source = SOURCE.format(tensors=table, code=code, inputs=", ".join(signature.user_inputs))
    return {NETWORK_FILE: source.encode(), WEIGHTS_FILE: save(tensors)}


def _is_plain(target: Any) -> bool:
    if isinstance(target, torch._ops.OpOverload):
        return target.namespace in {"aten", "prim"}
    return getattr(target, "__module__", "") in {"_operator", "operator", "math", "torch", "torch._sym_ops"} or (
        getattr(target, "__name__", "").startswith("sym_")
    )


def _tensors(program: ExportedProgram) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors that the program takes before its inputs, and the text of TENSORS."""
    tensors: dict[str, torch.Tensor] = {}
    lines: list[str] = []
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            continue
        if spec.kind not in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            raise ModelFault(f"the network holds {spec.target}, which is not a tensor")
        name, key = spec.arg.name, spec.target
        held = program.state_dict.get(key, program.constants.get(key))
        assert isinstance(held, torch.Tensor), "every tensor of a program is in its state or constants"
        # Each by itself: safetensors refuses two keys for one memory, and a slice of a larger tensor.
        tensors[name] = held.detach().cpu().clone().contiguous()
        lines.append(f"    {name!r}: ({key!r}, {tuple(held.shape)}, {held.dtype}),")
    return tensors, "\n".join(["{", *lines, "}"]) if lines else "{}"
