"""A cell of a recurrent layer, and the plain one: a forward pass that keeps what the rule looks at, and the rule.

Sums, products of two, sigmoid and tanh: the multipliers are those of DeepLIFT for these (see products and
elementwise), with what does not depend on a multiplier reckoned for all steps at once. Shapes: T steps, N rows, P
pairs, which are (R, K, B) where they are apart; `width` of what goes in, H of a state.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F

from whyserve.explain.methods.deep.rules.elementwise import hyperbolic, rectifying

Kept = tuple[torch.Tensor, ...]
"""What a cell keeps of a run, each (T, N, some width); the first is what it gives, (T, N, H)."""


class Cell(ABC):
    """One layer in one direction.

    weights: as torch keeps them, (gates · H, width) and (gates · H, H), two biases where there are any, and an LSTM's
        projection. backwards: from the last step to the first.
    size: H. given: the width of what the cell gives, which a projection makes smaller.
    """

    gates: ClassVar[int]
    kept: ClassVar[int]  # how many numbers a step keeps, in units of size

    def __init__(self, weights: Sequence[torch.Tensor], *, biased: bool, backwards: bool) -> None:
        self.entering, self.returning = weights[0], weights[1]
        none = weights[0].new_zeros(len(weights[0]))
        self.biases = (weights[2], weights[3]) if biased else (none, none)
        rest = weights[4 if biased else 2 :]
        self.projection = rest[0] if rest else None
        self.size = len(weights[0]) // self.gates
        self.given = weights[1].shape[1]
        self.backwards = backwards

    @abstractmethod
    def run(self, x: torch.Tensor, first: Sequence[torch.Tensor]) -> tuple[Kept, list[torch.Tensor]]:
        """From (T, N, width) and first states (N, H): what is kept, and the last states."""

    @abstractmethod
    def back(
        self, row: Kept, base: Kept, g: torch.Tensor | None, last: list[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """From multipliers of what the cell gives, (T, *P, H), and of its last states, (*P, H).

        Returns those of what entered the gates, (T, *P, gates · H), and of the first states.
        """

    def entered(self, g: torch.Tensor) -> torch.Tensor:
        """(T, *P, width), from the multipliers of what entered the gates."""
        return g @ self.entering.to(g.dtype)

    def order(self, steps: int) -> range:
        """The steps as they are run."""
        return range(steps)[::-1] if self.backwards else range(steps)

    def chain(self, first: torch.Tensor, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Room for a state at every step, and the same room seen from a step later: the state before each."""
        states = first.new_empty(steps + 1, *first.shape)
        states[steps if self.backwards else 0] = first
        early, late = states[:-1], states[1:]
        return (early, late) if self.backwards else (late, early)


class Plain(Cell):
    """h = tanh(W x + b + U h), or ReLU of it."""

    gates, kept = 1, 2

    def __init__(self, weights: Sequence[torch.Tensor], *, biased: bool, backwards: bool, relu: bool) -> None:
        super().__init__(weights, biased=biased, backwards=backwards)
        self.relu = relu

    def run(self, x: torch.Tensor, first: Sequence[torch.Tensor]) -> tuple[Kept, list[torch.Tensor]]:
        within = F.linear(x, self.entering, self.biases[0] + self.biases[1])
        given, h = torch.empty_like(within), first[0]
        activate = torch.relu if self.relu else torch.tanh
        for t in self.order(len(x)):
            within[t].addmm_(h, self.returning.T)
            h = given[t] = activate(within[t])
        return (given, within), [h]

    def back(
        self, row: Kept, base: Kept, g: torch.Tensor | None, last: list[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        (h, x), (h0, x0) = row, base
        slopes = (rectifying if self.relu else hyperbolic)(x, x0, h, h0).unbind(0)
        (m,), returning = last, self.returning.to(h.dtype)
        result = m.new_empty(len(slopes), *m.shape)
        for t in reversed(self.order(len(slopes))):
            m = m if g is None else m + g[t]
            torch.mul(m, slopes[t], out=result[t])
            m = result[t] @ returning
        return result, [m]


def by_gate(x: torch.Tensor, gates: int) -> torch.Tensor:
    """(…, gates · H) as (…, gates, H)."""
    return x.view(*x.shape[:-1], gates, -1)
