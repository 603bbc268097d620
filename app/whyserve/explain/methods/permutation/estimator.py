"""Rounds of sampling put together, with standard errors that can be believed."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy.special import ndtr, stdtrit  # type: ignore[import-untyped]

# How standard errors are steadied: see Estimate.errors. Errors have heavier tails than a normal's, measured.
POOLED = 3
HEAVY_TAILS = 1.1


At = torch.Tensor | slice
"""Which rows: numbers, or all of them by a slice, which is quicker."""


@dataclass(slots=True)
class Estimate:
    """Rounds so far, weighed by their expected precision: sums of weight·φ and weight²·variance, (R, K, P)."""

    values: torch.Tensor
    variance: torch.Tensor
    weight: torch.Tensor  # (R, 1, 1)
    freedom: torch.Tensor  # (R, 1, 1), of the variance

    @classmethod
    def empty(cls, outputs: torch.Tensor, players: int) -> "Estimate":
        values = torch.zeros(*outputs.shape, players, dtype=torch.float64)
        weight = values.new_zeros(len(values), 1, 1)
        return cls(values, values.clone(), weight, weight.clone())

    def add(self, at: At, values: torch.Tensor, variance: torch.Tensor, weight: float, freedom: int) -> None:
        self.values[at] += weight * values
        self.variance[at] += weight**2 * variance
        self.weight[at] += weight
        self.freedom[at] += freedom

    def settle(self, at: At, values: torch.Tensor) -> None:
        """Take exact values in place of what was sampled."""
        self.values[at], self.variance[at], self.weight[at], self.freedom[at] = values, 0.0, 1.0, 1e6

    def mean(self) -> torch.Tensor:
        return self.values / self.weight

    def errors(self, floor: torch.Tensor) -> torch.Tensor:
        """Standard errors, such that three of them hold 99 % of values however few draws stand behind them.

        A variance of few degrees of freedom is drawn towards its mean over the players, as if that were POOLED more
        of them (moderated, as in Smyth 2004), and then widened by Student's t.
        """
        common = self.variance.mean(-1, keepdim=True)
        variance = (self.freedom * self.variance + POOLED * common) / (self.freedom + POOLED)
        wide = torch.tensor([widening(freedom + POOLED) for freedom in self.freedom.flatten().tolist()])[:, None, None]
        return (HEAVY_TAILS * wide * variance.sqrt() / self.weight).clamp(min=floor)


@lru_cache(maxsize=1024)
def widening(freedom: float) -> float:
    """Three standard deviations of Student's t at `freedom`, by the probability that three of a normal leave."""
    return float(stdtrit(freedom, ndtr(3.0))) / 3
