"""Functions of several numbers: the Shapley value over the operation's own arguments."""

from collections.abc import Mapping
from itertools import combinations
from math import factorial
from typing import Any

import torch

from whyserve.explain.graph.program import Program, Step
from whyserve.explain.methods.deep.bound_rule import BoundRule, Shares
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.rules.elementwise import near, near_slope
from whyserve.explain.methods.deep.rules.linear import sum_to
from whyserve.explain.methods.deep.rules.steps import keeps_value, over

Sides = Mapping[int, tuple[torch.Tensor, torch.Tensor]]
"""By slot: the values of an argument for the row and for the background row, all pairs."""


def of_arguments(step: Step, program: Program) -> BoundRule | None:
    """The Shapley value over up to three arguments, each from the row or from the background row.

    An argument's multiplier is its slope, averaged over the other arguments' sides: f(True) − f(False) for a boolean,
    Δf/Δx for a number, the derivative for a number with Δx = 0, and 0 at Δx = 0 if f jumps or x is an integer
    (see steps).
    """
    slots = step.live
    if len(slots) > 3 or any(isinstance(a, tuple) for a in step.args):
        return None
    differentiable = program.dtypes[step.slot].is_floating_point

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        g = pairs.expand_pairs(step.slot, g, rows)
        sides = {slot: pairs.both(slot) for slot in slots}
        function = _Function(step, program, sides, pairs.fixed_values(pairs.count))
        for slot in slots:
            x, x0 = sides[slot]
            if program.dtypes[slot] is torch.bool:
                yield slot, sum_to(function.gain(slot, torch.ones_like(x), torch.zeros_like(x)) * g, x.shape)
                continue
            gain, moved = function.gain(slot, x, x0), (x - x0).nan_to_num(0.0, 0.0, 0.0)
            share = sum_to(gain * g, x.shape)
            slope = over(share, moved)
            smooth = differentiable and program.dtypes[slot].is_floating_point
            close = moved.abs() < near(x.dtype)
            if smooth and close.any():
                size = sum_to(function.size(slot, x) * g.abs(), x.shape)
                derivative = function.derivative(slot, (x + x0) / 2, g)
                slope = torch.where(close, near_slope(slope, derivative, moved, size), slope)
            yield slot, slope

    return BoundRule(step.slot, back, frozenset(slots))


def truncation(step: Step, program: Program) -> BoundRule | None:
    """A cast that does not keep the value: from float to integer, or from integer to bool."""
    (source,) = step.live
    return None if keeps_value(program.dtypes[source], program.dtypes[step.slot]) else of_arguments(step, program)


class _Function:
    """The step as a function of one argument, averaged over the sides of the others with Shapley's weights."""

    def __init__(self, step: Step, program: Program, sides: Sides, fixed: Mapping[int, Any]) -> None:
        self.step, self.program, self.sides, self.fixed = step, program, sides, fixed

    def gain(self, slot: int, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        """f(x) − f(x₀)."""
        return self._average(slot, x) - self._average(slot, x0)

    def size(self, slot: int, x: torch.Tensor) -> torch.Tensor:
        """The magnitude of f at x, for an estimate of rounding errors."""
        return self._average(slot, x, absolute=True)

    def derivative(self, slot: int, at: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """g times the derivative of f, of x's shape."""
        x = at.detach().requires_grad_()
        with torch.enable_grad():
            total: torch.Tensor = self._average(slot, x)
        if not total.requires_grad:
            return torch.zeros_like(at)
        result: torch.Tensor = torch.autograd.grad(total, x, g)[0]
        return result

    def _average(self, slot: int, x: torch.Tensor, *, absolute: bool = False) -> torch.Tensor:
        others = [other for other in self.sides if other != slot]
        total: torch.Tensor | None = None
        for size in range(len(others) + 1):
            weight = factorial(size) * factorial(len(others) - size) / factorial(len(others) + 1)
            for present in combinations(others, size):
                values = {other: self.sides[other][0 if other in present else 1] for other in others} | {slot: x}
                typed = {s: value.to(self.program.dtypes[s]) for s, value in values.items()}
                found: torch.Tensor = self.step.run({**self.fixed, **typed}).to(x.dtype)
                part = weight * (found.abs() if absolute else found)
                total = part if total is None else total + part
        assert total is not None, "there is one way to choose nobody"
        return total
