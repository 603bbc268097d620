"""A traced network: its steps, sorted by what they depend on."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from whyserve.explain.graph.layout import Dims


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of another slot, in the arguments of a step."""

    slot: int


def fill(argument: Any, values: Any) -> Any:
    """An argument with its Refs replaced by values."""
    if isinstance(argument, Ref):
        return values[argument.slot]
    if isinstance(argument, tuple | list):
        return [fill(a, values) for a in argument]
    return argument


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: `op(*args, **kwargs)`, with Refs replaced by values, is the value of `slot`.

    name: the operation's name without its overload, such as aten.mul. live: slots among the arguments that depend on
    the network's input.
    """

    slot: int
    op: Callable[..., Any]
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    live: tuple[int, ...]

    def run(self, values: Any) -> Any:
        """The step's value, from the values of its arguments by slot."""
        args = [values[a.slot] if type(a) is Ref else fill(a, values) for a in self.args]
        if not self.kwargs:
            return self.op(*args)
        return self.op(*args, **{k: fill(v, values) for k, v in self.kwargs.items()})

    def argument(self, position: int, default: Any = None) -> Any:
        """A positional argument, or the default if the trace leaves it out."""
        return self.args[position] if position < len(self.args) else default

    def is_live(self, argument: Any) -> bool:
        """Whether an argument is, or contains, a Ref to a value that depends on the input."""
        if isinstance(argument, tuple | list):
            return any(self.is_live(a) for a in argument)
        return isinstance(argument, Ref) and argument.slot in self.live


@dataclass(frozen=True, slots=True)
class Program:
    """A traced network.

    constants: values by slot that depend on nothing, computed once.
    sized: steps that depend on the number of rows only, which is the value of slot ROWS.
    live: steps that depend on the input, in order.
    dims, dtypes: of each live slot that is a tensor.
    tracked: whether the place of the rows is known in every live slot, merged with other dimensions or not.
    """

    inputs: tuple[int, ...]
    output: int
    constants: Mapping[int, Any]
    sized: tuple[Step, ...]
    live: tuple[Step, ...]
    dims: Mapping[int, Dims]
    dtypes: Mapping[int, torch.dtype]
    tracked: bool

    def fixed_values(self, rows: int) -> dict[int, Any]:
        """Values of all slots that do not depend on the input, for a number of rows."""
        values = {**self.constants, ROWS: rows}
        for step in self.sized:
            values[step.slot] = step.run(values)
        return values


def fused(program: Program) -> Program:
    """The same network, with x W and then + b as one operation, for a constant W and b."""
    counts = Counter(slot for step in program.live for slot in step.live)
    products = {step.slot: step for step in program.live if step.name == "aten.mm" and len(step.live) == 1}
    live: list[Step] = []
    for step in program.live:
        product = products.get(step.live[0])
        bias = [program.constants.get(a.slot) for a in step.args if isinstance(a, Ref) and a.slot != step.live[0]]
        is_sum = step.name == "aten.add" and not step.kwargs and len(step.args) == 2 and len(bias) == 1
        if is_sum and product and counts[product.slot] == 1 and bias[0] is not None and not product.kwargs:
            x, weight = product.args
            width = program.dims[step.slot].multiples[1:]
            is_first = product.live == (x.slot,) and program.dims[step.slot] == program.dims[product.slot]
            if is_first and bias[0].dtype == program.dtypes[step.slot] and bias[0].shape in (width, (1, *width)):
                live.remove(product)
                at = next(a for a in step.args if a.slot != product.slot)
                step = Step(step.slot, torch.ops.aten.addmm.default, "aten.addmm", (at, x, weight), {}, (x.slot,))
        live.append(step)
    return replace(program, live=tuple(live))


ROWS = -1
