"""Combine the rounds of sampling into one estimate with reliable standard errors."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy.special import ndtr, stdtrit

# Estimate.errors adds this many degrees of freedom, with the mean variance over the players.
POOLED_DEGREES = 3
# Measured: leave-one-out residuals are a little smaller than the errors, and of two variances the smaller one counts.
MEASURED_FACTOR = 1.1
# The degrees of freedom of an exact value.
EXACT_DEGREES = 1e6
# Measured: the variance of a round falls with about this power of its pairs.
WEIGHT_POWER = 1.5


@dataclass(slots=True)
class Estimate:
    """The rounds so far, weighted by a power of their pairs of coalitions.

    Of each row: Σ weight · φ, (K, P), Σ weight² · variance, (K, P), Σ weight, and the degrees of freedom of the
    variance, Σ pairs.
    """

    values: list[torch.Tensor]
    variance: list[torch.Tensor]
    weight: list[float]
    degrees: list[float]

    @classmethod
    def empty(cls, rows: int, outputs: int, players: int) -> "Estimate":
        zero = torch.zeros(outputs, players, dtype=torch.float64)
        return cls([zero] * rows, [zero] * rows, [0.0] * rows, [0.0] * rows)

    def add(self, row: int, values: torch.Tensor, variance: torch.Tensor, pairs: int) -> None:
        """Add a round of one row: its values and their variance, (K, P)."""
        weight = float(pairs) ** WEIGHT_POWER
        self.values[row] = self.values[row].add(values, alpha=weight)
        self.variance[row] = self.variance[row].add(variance, alpha=weight**2)
        self.weight[row] += weight
        self.degrees[row] += pairs

    def set_exact(self, row: int, values: torch.Tensor) -> None:
        """Replace the samples of a row with exact values, (K, P)."""
        self.values[row], self.variance[row] = values, torch.zeros_like(values)
        self.weight[row], self.degrees[row] = 1.0, EXACT_DEGREES

    def mean(self) -> torch.Tensor:
        """φ, (R, K, P)."""
        return torch.stack([total / weight for total, weight in zip(self.values, self.weight, strict=True)])

    def errors(self, floor: torch.Tensor) -> torch.Tensor:
        """Standard errors, (R, K, P), at least `floor`. 99 % of values lie within three of them.

        A variance with few degrees of freedom is unreliable. It is first moved towards the mean over the players
        (moderated variance: Smyth 2004), and then widened by Student's t distribution.
        """
        found = []
        for total, weight, degrees in zip(self.variance, self.weight, self.degrees, strict=True):
            factor = (MEASURED_FACTOR * t_factor(degrees + POOLED_DEGREES) / weight) ** 2 / (degrees + POOLED_DEGREES)
            common = total.mean(-1, keepdim=True).mul(factor * POOLED_DEGREES)
            found.append(common.add(total, alpha=factor * degrees))
        return torch.stack(found).sqrt_().clamp_(min=floor)


@lru_cache(maxsize=1024)
def t_factor(degrees: float) -> float:
    """The quantile of Student's t at the probability of three standard deviations of a normal, divided by three."""
    return float(stdtrit(degrees, ndtr(3.0))) / 3
