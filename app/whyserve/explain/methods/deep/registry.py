"""Which operation has which rule."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from whyserve.explain.graph.program import Program, Step
from whyserve.explain.methods.deep.pairs import Pairs

Shares = Iterable[tuple[int, torch.Tensor]]
"""Multipliers for slots: what comes of a multiplier for a step's value."""


@dataclass(frozen=True, slots=True)
class BoundRule:
    """A rule made ready for one step.

    back: from the multiplier of the step's value, for `rows` rows as they lie in a tensor, to those of its live
        arguments. linear moves are the same for every pair and take any number of rows; others take as many as there
        are pairs.
    needs: slots whose values, on either side of a pair, the rule looks at.
    run: the step's operation as the rule wants it run, in place of torch's: its results, and last a list of what the
        rule keeps, which is what `needs` then gives for the step's own slot.
    held: numbers that this list has for a row.
    """

    slot: int
    name: str
    back: Callable[[Pairs, Any, int], Shares]
    needs: frozenset[int] = frozenset()
    linear: bool = False
    run: Callable[..., Any] | None = None
    held: int = 0


Maker = Callable[[Step, Program], BoundRule | None]

RULES: dict[str, list[Maker]] = {}


def rule(*names: str) -> Callable[[Maker], Maker]:
    """Register a maker for operations; it answers None for a use of them that it does not cover."""

    def register(maker: Maker) -> Maker:
        for name in names:
            RULES.setdefault(name, []).append(maker)
        return maker

    return register


def find(step: Step, program: Program) -> BoundRule | None:
    """The first rule that covers the step, or None."""
    moves = (maker(step, program) for maker in RULES.get(step.name, ()))
    return next((move for move in moves if move is not None), None)
