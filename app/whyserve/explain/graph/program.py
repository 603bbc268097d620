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


aten = torch.ops.aten
# Functions that Python calls faster than the operation, which they are for tensors and numbers.
QUICK: Mapping[Callable[..., Any], Callable[..., Any]] = {
    aten.add.Tensor: torch.add,
    aten.sub.Tensor: torch.sub,
    aten.mul.Tensor: torch.mul,
    aten.div.Tensor: torch.div,
    aten.mm.default: torch.mm,
    aten.addmm.default: torch.addmm,
    aten.relu.default: torch.relu,
}


def fused(program: Program) -> Program:
    """The same network with quicker calls, and with x W and then + b as one, for a constant W and b."""
    counts = Counter(slot for step in program.live for slot in step.live)
    products = {
        s.slot: s for s in program.live if s.name == "aten.mm" and counts[s.slot] == 1 and s.args[0].slot in s.live
    }
    live: dict[int, Step] = {}
    for step in program.live:
        product = products.get(step.live[0]) if step.live else None
        if product and (bias := _added(step, product, program)):
            del live[product.slot]
            (x, weight), name = product.args, "aten.addmm"
            live[step.slot] = Step(step.slot, torch.addmm, name, (bias, x, weight), {}, product.live)
        else:
            live[step.slot] = replace(step, op=QUICK.get(step.op, step.op))
    return replace(program, live=tuple(live.values()))


def _added(step: Step, product: Step, program: Program) -> Ref | None:
    """The constant that a step adds to each row of a product; None for another step."""
    if (
        step.name != "aten.add"
        or step.kwargs
        or len(product.live) > 1
        or program.dims[step.slot] != program.dims[product.slot]
        # A sum of two precisions has the higher one, and a product has one.
        or program.dtypes[step.slot] != program.dtypes[product.slot]
    ):
        return None
    bias = next((a for a in step.args if isinstance(a, Ref) and a.slot != product.slot), None)
    value, width = program.constants.get(bias.slot) if bias else None, program.dims[step.slot].multiples[1:]
    fits = value is not None and value.shape in (width, (1, *width)) and value.dtype == program.dtypes[step.slot]
    return bias if fits else None


ROWS = -1
