"""Combine the rounds of sampling into one estimate with reliable standard errors."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy.special import ndtr, stdtrit

# Estimate.errors adds this many degrees of freedom, with the mean variance over the players.
POOLED_DEGREES = 3
# Measured: leave-one-out residuals are a little smaller than the errors.
MEASURED_FACTOR = 1.07
# The degrees of freedom of an exact value.
EXACT_DEGREES = 1e6
# Measured: the variance of a round falls with about this power of its pairs.
WEIGHT_POWER = 1.5


@dataclass(slots=True)
class Estimate:
    """The rounds so far, weighted by a power of their pairs of coalitions.

    values: Σ weight · φ, (R, K, P). variance: Σ weight² · variance, (R, K, P). weight: Σ weight, (R, 1, 1).
    degrees: the degrees of freedom of the variance, Σ pairs, (R, 1, 1).
    """

    values: torch.Tensor
    variance: torch.Tensor
    weight: torch.Tensor
    degrees: torch.Tensor

    @classmethod
    def empty(cls, outputs: torch.Tensor, players: int) -> "Estimate":
        values = torch.zeros(*outputs.shape, players, dtype=torch.float64)
        weight = values.new_zeros(len(values), 1, 1)
        return cls(values, values.clone(), weight, weight.clone())

    def add(self, row: int, values: torch.Tensor, variance: torch.Tensor, pairs: int) -> None:
        """Add a round of one row: its values and their variance, (K, P)."""
        weight = float(pairs) ** WEIGHT_POWER
        self.values[row] += weight * values
        self.variance[row] += weight**2 * variance
        self.weight[row] += weight
        self.degrees[row] += pairs

    def set_exact(self, rows: torch.Tensor, values: torch.Tensor) -> None:
        """Replace the samples of some rows with exact values."""
        self.values[rows], self.variance[rows] = values, 0.0
        self.weight[rows], self.degrees[rows] = 1.0, EXACT_DEGREES

    def mean(self) -> torch.Tensor:
        return self.values / self.weight

    def errors(self, floor: torch.Tensor) -> torch.Tensor:
        """Standard errors, at least `floor`. 99 % of values lie within three of them, even with few samples.

        A variance with few degrees of freedom is unreliable. It is first moved towards the mean over the players
        (moderated variance: Smyth 2004), and then widened by Student's t distribution.
        """
        common = self.variance.mean(-1, keepdim=True)
        variance = (self.degrees * self.variance + POOLED_DEGREES * common) / (self.degrees + POOLED_DEGREES)
        factors = [t_factor(degrees + POOLED_DEGREES) for degrees in self.degrees.flatten().tolist()]
        factor = torch.tensor(factors)[:, None, None]
        return (MEASURED_FACTOR * factor * variance.sqrt() / self.weight).clamp(min=floor)


@lru_cache(maxsize=1024)
def t_factor(degrees: float) -> float:
    """The quantile of Student's t at the probability of three standard deviations of a normal, divided by three."""
    return float(stdtrit(degrees, ndtr(3.0))) / 3
