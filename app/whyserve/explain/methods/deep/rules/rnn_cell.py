"""One cell of a recurrent layer: a forward pass that keeps what the rule reads, and the rule. And the plain cell.

A cell is made of sums, products of two values, sigmoid and tanh, and its multipliers are those of these operations
(see products and elementwise). A backward pass has two parts:

1. Slopes. They depend on the values of the two sides and on no multiplier, so they are computed for all steps in a
   few large operations.
2. The loop over the steps, last step first, which carries multipliers of the state back through time. It holds only
   what needs the multiplier of the step before.

Shapes: T steps; N rows; P pairs, as one dimension or as (R, K, B); `width` of the input; H of a state.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F

from whyserve.explain.methods.deep.rules.elementwise import hyperbolic, rectifier

Kept = tuple[torch.Tensor, ...]
"""Values that a cell keeps from its forward pass, each (T, N, some width). The first is its output, (T, N, H)."""


class Cell(ABC):
    """One layer in one direction.

    weights: in torch's order: (gates · H, width) for the input, (gates · H, H) for the state, two biases if there are
        any, and an LSTM's projection if there is one. backwards: the cell runs from the last step to the first.
    size: H. given: the width of the cell's output, which a projection makes smaller than H.
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
        """From the input (T, N, width) and the first states (N, H): the kept values and the last states."""

    @abstractmethod
    def back(
        self, row: Kept, base: Kept, g: torch.Tensor | None, last: list[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """From multipliers of the output, (T, *P, H), and of the last states, (*P, H).

        Returns multipliers of the gates' inputs, that is before sigmoid or tanh, (T, *P, gates · H), and of the first
        states. g is None if the network uses the last states only.
        """

    def entered(self, g: torch.Tensor) -> torch.Tensor:
        """Multipliers of the cell's input, (T, *P, width), from those of the gates' inputs."""
        return g @ self.entering.to(g.dtype)

    def order(self, steps: int) -> range:
        """The steps in the order in which the cell runs."""
        return range(steps)[::-1] if self.backwards else range(steps)

    def chain(self, first: torch.Tensor, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Memory for the state after each step, and a view of the same memory with the state before each step."""
        states = first.new_empty(steps + 1, *first.shape)
        states[steps if self.backwards else 0] = first
        early, late = states[:-1], states[1:]
        return (early, late) if self.backwards else (late, early)


class Plain(Cell):
    """h ← tanh(W x + b + U h), or ReLU in place of tanh."""

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
        slopes = (rectifier if self.relu else hyperbolic)(x, x0, h, h0).unbind(0)
        (m,), returning = last, self.returning.to(h.dtype)
        result = m.new_empty(len(slopes), *m.shape)
        for t in reversed(self.order(len(slopes))):
            # m: the multiplier of h after step t. It comes from step t + 1 and from the output at t.
            m = m if g is None else m + g[t]
            torch.mul(m, slopes[t], out=result[t])
            m = result[t] @ returning
        return result, [m]


def by_gate(x: torch.Tensor, gates: int) -> torch.Tensor:
    """(…, gates · H) as (…, gates, H)."""
    return x.view(*x.shape[:-1], gates, -1)
