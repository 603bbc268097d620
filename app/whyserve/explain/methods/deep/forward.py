"""The forward half of `deep`: the traced network's values that the rules read."""

from dataclasses import replace
from typing import Any

import torch

from whyserve.explain.game.base import Inputs
from whyserve.explain.game.network import row_count
from whyserve.explain.graph.program import Program
from whyserve.explain.methods.deep.bound_rule import BoundRule

Values = dict[int, Any]
"""By slot: a tensor, or the list of values that a rule keeps."""


class Forward:
    """The traced network as the rules need it run.

    inputs are named by `names`, in the order of the program's inputs.
    """

    def __init__(self, program: Program, rules: list[BoundRule], names: tuple[str, ...]) -> None:
        self.program, self.names = program, names
        self.needs = frozenset({*program.inputs, program.output}.union(*(bound.needs for bound in rules)))
        steps = zip(program.live, rules, strict=True)
        self.steps = [step if bound.run is None else replace(step, op=bound.run) for step, bound in steps]

    def run(self, inputs: Inputs) -> Values:
        """The values that the rules read, at these rows."""
        program = self.program
        values: Values = program.fixed_values(row_count(inputs))
        values.update(zip(program.inputs, (inputs[name] for name in self.names), strict=True))
        with torch.no_grad():
            for step in self.steps:
                values[step.slot] = step.run(values)
        found = ((slot, values[slot]) for slot in self.needs)
        return {slot: value[-1] if isinstance(value, tuple) else value for slot, value in found}


class BackgroundValues:
    """The values of the background's rows: computed once if they may be kept, else at every call."""

    def __init__(self, forward: Forward, background: Inputs, *, keep: bool) -> None:
        self.forward, self.background = forward, background
        self.rows = row_count(background)
        self.kept = forward.run(background) if keep else None
        # What the rules make of the kept values.
        self.seen: dict[Any, torch.Tensor] = {}

    def at(self, part: slice) -> Values:
        """The values of some of the rows."""
        if self.kept is None:
            return self.forward.run(self.inputs(part))
        if part.stop - part.start == self.rows:
            return self.kept
        return {slot: self._some(slot, value, part) for slot, value in self.kept.items()}

    def inputs(self, part: slice) -> dict[str, torch.Tensor]:
        """Some of the rows themselves."""
        return {name: x[part] for name, x in self.background.items()}

    def _some(self, slot: int, value: Any, part: slice) -> Any:
        if isinstance(value, list):
            return [tuple(x[:, part] for x in each) for each in value]
        dims, size = self.forward.program.dims[slot], part.stop - part.start
        axis = dims.batch + (dims.multiples[dims.batch] != 1)
        return value.reshape(dims.unflatten(self.rows)).narrow(axis, part.start, size).reshape(dims.at(size))
