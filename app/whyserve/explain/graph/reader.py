"""An exported graph read into a program: each operation sorted by what it depends on."""

import operator
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from whyserve.errors import UnsupportedNetwork
from whyserve.explain.graph.layout import Dims, dims_of, multiple_of
from whyserve.explain.graph.program import ROWS, Program, Ref, Step

aten = torch.ops.aten

# Checks and hints in a trace, which have no effect on a value.
_SILENT = {"aten._assert_tensor_metadata", "aten._assert_scalar", "aten._assert_async", "aten.sym_constrain_range"}
# Recurrent layers, which have rules as whole operations.
WHOLE = (aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input)
# Operations that keep all elements in their order, and so the number of elements before the rows.
_VIEWS = {"aten.view", "aten._unsafe_view", "aten.reshape", "aten.squeeze", "aten.unsqueeze"}


class Reader:
    """One pass over an exported graph, which sorts its nodes into the parts of a Program.

    numbers: the slot of each node. depends: slots that depend on the input. by_size: slots that depend on the number
    of rows only. faults: by slot, why its result is not made of separate rows.
    """

    def __init__(self, exported: torch.export.ExportedProgram) -> None:
        self.exported = exported
        self.numbers: dict[Node, int] = {}
        self.constants: dict[int, Any] = {}
        self.sized: list[Step] = []
        self.live: list[Step] = []
        self.dims: dict[int, Dims] = {}
        self.dtypes: dict[int, torch.dtype] = {}
        self.depends: set[int] = set()
        self.by_size: set[int] = set()
        self.inputs: list[int] = []
        self.tracked = True
        self.faults: dict[int, UnsupportedNetwork] = {}

    def program(self) -> Program:
        output = -1
        for number, node in enumerate(self.exported.graph.nodes):
            self.numbers[node] = number
            if node.op == "placeholder":
                self._placeholder(node, number)
            elif node.op == "output":
                output = self._output()
            elif node.op == "call_function":
                self._call(node, number)
            else:
                raise UnsupportedNetwork(f"the trace contains {node.op} {node.target}, which is not supported")
        if output not in self.depends:
            raise UnsupportedNetwork("the network's output does not depend on its inputs")
        live = tuple(_needed(self.live, output))
        # Only steps that the output depends on count: a check of values may read all rows together.
        for step in live:
            if step.slot in self.faults:
                raise self.faults[step.slot]
        rest = (self.constants, tuple(self.sized), live, self.dims, self.dtypes, self.tracked)
        return Program(tuple(self.inputs), output, *rest)

    def _placeholder(self, node: Node, number: int) -> None:
        signature = self.exported.graph_signature
        held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        held |= signature.inputs_to_lifted_tensor_constants
        if node.name in held:
            name, state = held[node.name], self.exported.state_dict
            self.constants[number] = (state[name] if name in state else self.exported.constants[name]).detach()
        elif node.name in signature.user_inputs:
            self.inputs.append(number)
            self.depends.add(number)
            self._note(node, Step(number, print, "the input", (), {}, ()))
        else:
            raise UnsupportedNetwork(f"the trace has an input {node.name} that is neither a network input nor a weight")

    def _output(self) -> int:
        names = self.exported.graph_signature.user_outputs
        if len(names) != 1:
            raise UnsupportedNetwork(f"the network returns {len(names)} tensors, not one")
        return next(number for node, number in self.numbers.items() if node.name == names[0])

    def _call(self, node: Node, number: int) -> None:
        name = name_of(node.target)
        if name in _SILENT:
            return
        if name == "aten.slice" and _is_whole(*node.args[1:]):
            (source,) = node.all_input_nodes
            self.numbers[node] = self.numbers[source]  # the first part of x[:, t], for example
            return
        value = node.meta.get("val")
        sources = {self.numbers[n] for n in node.all_input_nodes}
        live = tuple(sorted(sources & self.depends))
        kwargs = {k: self._arguments(v) for k, v in node.kwargs.items()}
        assert callable(node.target)
        step = Step(number, node.target, name, self._arguments(node.args), kwargs, live)
        if isinstance(value, torch.SymInt | int) and not isinstance(value, bool) and live:
            # A size follows from the number of rows, whichever tensor it is the size of.
            multiple, symbolic = multiple_of(value, name)
            step = Step(number, operator.mul, name, (Ref(ROWS) if symbolic else 1, multiple), {}, ())
            self.by_size.add(number)
            self.sized.append(step)
        elif live or is_random(node.target, node.args):
            self.depends.add(number)
            self.live.append(step)
            self._note(node, step)
        elif sources & self.by_size:
            self.by_size.add(number)
            self.sized.append(step)
        else:
            with torch.no_grad():
                self.constants[number] = step.run(self.constants)

    def _note(self, node: Node, step: Step) -> None:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            try:
                dims = dims_of(tuple(value.shape), step.name)
            except UnsupportedNetwork as fault:
                self.faults[step.slot] = fault
                return
            self.dims[step.slot] = self._followed(step, dims)
            self.dtypes[step.slot] = value.dtype

    def _followed(self, step: Step, dims: Dims) -> Dims:
        sources = [self.dims[s] for s in step.live if s in self.dims]
        multiple = dims.multiples[dims.batch]
        if step.name in _VIEWS and sources:
            found = dims.viewed_from(sources[0])
        elif multiple == 1:
            return dims
        else:
            same = [s for s in sources if s.multiples[s.batch] == multiple]
            found = replace(dims, before=same[0].before) if same else None
        if found is None:
            self.tracked = False
            return dims
        return found

    def _arguments(self, argument: Any) -> Any:
        if isinstance(argument, Node):
            return Ref(self.numbers[argument])
        if isinstance(argument, tuple | list):
            return tuple(self._arguments(a) for a in argument)
        return argument


def _is_whole(_: Any = 0, start: Any = None, end: Any = None, step: Any = 1) -> bool:
    return start in (None, 0) and end in (None, sys.maxsize) and step == 1


def name_of(target: Any) -> str:
    """aten.mul for torch.ops.aten.mul.Tensor; the Python name of any other function."""
    if isinstance(target, torch._ops.OpOverload):
        return f"{target.namespace}.{target._opname}"
    return getattr(target, "__name__", str(target))


def is_random(target: Any, arguments: Sequence[Any]) -> bool:
    """Whether an operation draws random numbers."""
    if target in WHOLE:
        dropout, training = arguments[5:7]
        return bool(dropout and training)
    return isinstance(target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in target.tags


def _needed(steps: list[Step], output: int) -> Iterator[Step]:
    wanted, kept = {output}, []
    for step in reversed(steps):
        if step.slot in wanted:
            wanted.update(step.live)
            kept.append(step)
    return reversed(kept)
