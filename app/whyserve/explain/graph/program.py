"""A traced network: steps, and what each depends on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from whyserve.explain.graph.layout import Dims


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands in a step's arguments for the value of another slot."""

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
    """One operation: `op(*args, **kwargs)`, with Refs for values, gives the value of `slot`.

    name: as rules know it, such as aten.mul. live: slots among the arguments that depend on the input.
    """

    slot: int
    op: Callable[..., Any]
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    live: tuple[int, ...]

    def run(self, values: Any) -> Any:
        """The step's value; `values` gives a slot's."""
        args = [values[a.slot] if type(a) is Ref else fill(a, values) for a in self.args]
        if not self.kwargs:
            return self.op(*args)
        return self.op(*args, **{k: fill(v, values) for k, v in self.kwargs.items()})

    def argument(self, position: int, default: Any = None) -> Any:
        """A positional argument as traced, which may have been left out."""
        return self.args[position] if position < len(self.args) else default

    def is_live(self, argument: Any) -> bool:
        """Whether an argument is, or holds, a Ref to a value that depends on the input."""
        if isinstance(argument, tuple | list):
            return any(self.is_live(a) for a in argument)
        return isinstance(argument, Ref) and argument.slot in self.live


@dataclass(frozen=True, slots=True)
class Program:
    """A traced network.

    constants: slots that depend on nothing, computed once. sized: steps that depend on the number of rows alone,
    which is slot ROWS. live: steps that depend on the input, in order. dims, dtypes: of each live slot that is a
    tensor. tracked: whether the rows could be followed through every step, merged with other dimensions or not.
    """

    inputs: tuple[int, ...]
    output: int
    constants: Mapping[int, Any]
    sized: tuple[Step, ...]
    live: tuple[Step, ...]
    dims: Mapping[int, Dims]
    dtypes: Mapping[int, torch.dtype]
    tracked: bool

    def around(self, rows: int) -> dict[int, Any]:
        """Every slot that does not depend on the input, for so many rows."""
        values = {**self.constants, ROWS: rows}
        for step in self.sized:
            values[step.slot] = step.run(values)
        return values


ROWS = -1
