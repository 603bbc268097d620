"""A rule of `deep` bound to one step of a traced network."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from whyserve.errors import UnsupportedNetwork
from whyserve.explain.graph.program import Program, Step
from whyserve.explain.methods.deep.pairs import Pairs

Shares = Iterable[tuple[int, torch.Tensor]]
"""(slot, multiplier) for arguments of a step that depend on the input."""


@dataclass(frozen=True, slots=True)
class BoundRule:
    """A rule ready for one step.

    back: takes the multiplier of the step's value for `rows` rows, and gives the multipliers of the step's live
        arguments. A linear rule is the same for every pair and takes any number of rows. Any other rule gives
        multipliers for all pairs.
    needs: slots whose values the rule reads, for the row and for the background row.
    run: replaces the step's operation in the forward pass. It returns the operation's results and, last, a list of
        values that the rule keeps; `needs` then gives this list for the step's own slot.
    held: how many numbers this list holds per row.
    """

    slot: int
    back: Callable[[Pairs, Any, int], Shares]
    needs: frozenset[int] = frozenset()
    linear: bool = False
    run: Callable[..., Any] | None = None
    held: int = 0


Rule = Callable[[Step, Program], BoundRule | None]
"""Binds itself to a step, or returns None when the rule does not cover this use of the operation."""


def first_result(step: Step, g: Any) -> torch.Tensor:
    """The multiplier of the first of several results.

    Raises UnsupportedNetwork when the network uses another result, such as the position of a maximum.
    """
    if isinstance(g, torch.Tensor):
        return g
    if set(g) != {0}:
        raise UnsupportedNetwork(f"deep has no rule for any but the first result of {step.name}; use another method")
    result: torch.Tensor = g[0]
    return result
