"""A torch network → network.py and weights.safetensors, whatever its class and wherever the class was defined.

torch.export turns the network into a program of ATen operations. torch_source writes that program as Python source.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from whyserve.errors import ModelFault
from whyserve.export.comparison import compared
from whyserve.export.package.calls import call_with
from whyserve.export.package.output_choice import OutputChoice
from whyserve.export.package.torch_operations import HALF, OPERATIONS, Wrapped, code_in_float32, half_dtype, in_float32
from whyserve.export.package.torch_source import write_program
from whyserve.export.package.tracing import Recorder, traced
from whyserve.export.package.unwrap import unwrapped

# Operations that behave differently in training mode, and a test of their arguments for that mode.
TRAINING: Mapping[str, Callable[[Any], bool]] = {
    "aten.dropout.default": lambda args: args[2] is True and args[1] > 0,
    "aten.batch_norm.default": lambda args: args[5] is True,
}


# The rounding of a trace: far above that of float32, far below the effect of code that the trace left out.
TRACE_ROUNDING = 2.0**-14
# The number of rows for tracing. More than 1, because a batch of 1 silently becomes a constant (pytorch#148886).
TRACED_ROWS = 3


@dataclass(frozen=True, slots=True)
class TorchModel:
    """A torch network.

    module: the network; it takes one tensor per input, in the order of `names`, and returns one tensor.
    program: if the caller gave a program. original: the network in half precision, if `module` is its float32 copy.
    derived: the arguments of the network that are computed from the ids of its tokenizer.
    dtypes, shapes (without the rows): of the inputs, if layers of `preprocess` state them.
    """

    framework: ClassVar[str] = "torch"
    module: nn.Module
    names: tuple[str, ...]
    program: ExportedProgram | None = None
    original: nn.Module | None = None
    derived: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, model: nn.Module | ExportedProgram, background: Any = None, tokenizer: Any = None) -> "TorchModel":
        """Copy a network, so that the caller's one keeps its mode and device.

        background: as given by the caller; it names the inputs of a network with optional ones.
        tokenizer: the network's PaddedTokenizer, if it takes text. Raises ModelFault.
        """
        if isinstance(model, ExportedProgram):
            _check_program(model)
            given, names = model.module(), tuple(map(str, model.graph_signature.user_inputs))
            if half_dtype(given) is None:
                return cls(given, names, model)
            return cls(code_in_float32(in_float32(given)), names, original=given)
        network = unwrapped(model)
        half = half_dtype(network) is not None
        exact = in_float32(network) if half else network
        call = call_with(exact, background, tokenizer)
        module, original = (Wrapped(each, call) for each in (exact, network))
        if not half:
            return cls(module, call.names, derived=call.derived)
        return cls(code_in_float32(module), call.names, original=original, derived=call.derived)

    def _wrapped(self, call: Callable[..., Any], **changed: Any) -> "TorchModel":
        """The network, and its original in half precision, behind `call`, with other fields changed."""
        original = None if self.original is None else Wrapped(self.original, call)
        return replace(self, module=Wrapped(self.module, call), program=None, original=original, **changed)

    def with_output(self, choice: OutputChoice) -> "TorchModel":
        """The network with one tensor as its output, (rows,) or (rows, outputs)."""
        if self.program is not None and _is_table(self.program) and choice == OutputChoice():
            return self

        def call(network: nn.Module, *inputs: torch.Tensor) -> Any:
            return choice.of(network(*inputs), dict(zip(self.names, inputs, strict=True)), OPERATIONS)

        return self._wrapped(call)

    @property
    def dtype(self) -> str:
        """The floating-point type of the weights."""
        dtypes = {tensor.dtype for tensor in self.module.state_dict().values() if tensor.is_floating_point()}
        return "float64" if dtypes == {torch.float64} else "float32"

    def with_front(self, front: Any) -> tuple["TorchModel", "TorchModel"]:
        """The network behind the layers of `preprocess`, and these layers alone. Raises InvalidInput, ModelFault."""
        dtype, names = front.input_dtype(self), tuple(front.inputs)
        dtypes, shapes = zip(*front.inputs.values(), strict=True)

        def call(network: nn.Module, *inputs: torch.Tensor) -> Any:
            return network(front.applied(dict(zip(names, inputs, strict=True)), OPERATIONS, dtype))

        whole, alone = (
            TorchModel(Wrapped(network, call), names, dtypes=dtypes, shapes=shapes)
            for network in (self.module, nn.Identity())
        )
        return whole, alone

    def run(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The output for rows, (rows, …) by input. Raises ModelFault, and whatever the network raises."""
        return _table(self.module, self._tensors(arrays))

    def precision(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
        """[precision] of model.toml for a network with half precision; None for any other. arrays: a background.

        Raises ModelFault if the float32 copy differs by more than half precision can explain.
        """
        rows, original = self._tensors(arrays), self.original or self.module
        dtype = half_dtype(original) or Recorder.on(original, rows).half
        if dtype is None:
            return None
        try:
            table = _table(original, rows)
        except Exception:  # the inputs of some networks must have the type of the weights
            table = _table(original, [x.to(dtype) if x.is_floating_point() else x for x in rows])
        served = _table(self.exact(arrays), rows)
        return compared(table, served, str(dtype).removeprefix("torch."), torch.finfo(dtype).eps)

    def exact(self, arrays: Mapping[str, np.ndarray]) -> nn.Module:
        """The network in float32, also where its code asks for half precision."""
        asks_for_half = Recorder.on(self.module, self._tensors(arrays)).half is not None
        return code_in_float32(self.module) if asks_for_half else self.module

    def with_integers(self, names: Sequence[str], dtype: str) -> "TorchModel":
        """This network with integer inputs, of `dtype`, in place of the floating-point inputs `names`."""
        floating = getattr(torch, self.dtype)

        def call(network: nn.Module, *inputs: torch.Tensor) -> Any:
            given = zip(self.names, inputs, strict=True)
            return network(*(x.to(floating) if name in names else x for name, x in given))

        stated = zip(self.names, self.dtypes, strict=False)  # most networks state no dtypes
        return self._wrapped(call, dtypes=tuple(dtype if name in names else own for name, own in stated))

    def files(self, arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
        """The content of network.py and weights.safetensors. arrays: a background. Raises ModelFault."""
        if self.program is not None:
            return write_program(self.program, self.names)
        exact, rows = self.exact(arrays), self._tensors(arrays)
        expected = _table(exact, rows)
        few = self._tensors({n: np.resize(array, (TRACED_ROWS, *array.shape[1:])) for n, array in arrays.items()})
        program = traced(exact, few)
        _check_program(program)
        files = write_program(program, self.names)
        compared(expected, _table(program.module(), rows), "Python", TRACE_ROUNDING)
        return files

    def _tensors(self, arrays: Mapping[str, np.ndarray]) -> list[torch.Tensor]:
        return [torch.from_numpy(arrays[name]) for name in self.names]


def _table(module: nn.Module, rows: Sequence[torch.Tensor]) -> np.ndarray:
    with torch.no_grad():
        result = module(*rows)
    table: np.ndarray = (result.float() if result.dtype in HALF else result).numpy()
    return table


def _is_table(program: ExportedProgram) -> bool:
    """Whether a program returns one tensor of shape (rows,) or (rows, outputs)."""
    values = [node.meta["val"] for node in program.graph.output_node().args[0]]
    return program.call_spec.out_spec.is_leaf() and isinstance(values[0], torch.Tensor) and values[0].ndim in (1, 2)


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
