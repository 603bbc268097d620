"""Combine the rounds of sampling into one estimate with reliable standard errors."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy.special import ndtr, stdtrit  # type: ignore[import-untyped]

# Estimate.errors adds this many degrees of freedom, with the mean variance over the players.
POOLED_DEGREES = 3
# Measured: leave-one-out residuals are a little smaller than the errors.
MEASURED_FACTOR = 1.04
# An exact value counts as this many pairs.
EXACT_PAIRS = 1e6


@dataclass(slots=True)
class Estimate:
    """The rounds so far, weighted by their pairs of coalitions.

    values: Σ pairs · φ, (R, K, P). variance: Σ pairs² · variance, (R, K, P). pairs: Σ pairs, (R, 1, 1): also the
    degrees of freedom of the variance.
    """

    values: torch.Tensor
    variance: torch.Tensor
    pairs: torch.Tensor

    @classmethod
    def empty(cls, outputs: torch.Tensor, players: int) -> "Estimate":
        values = torch.zeros(*outputs.shape, players, dtype=torch.float64)
        return cls(values, values.clone(), values.new_zeros(len(values), 1, 1))

    def add(self, row: int, values: torch.Tensor, variance: torch.Tensor, pairs: int) -> None:
        """Add a round of one row: its values and their variance, (K, P)."""
        self.values[row] += pairs * values
        self.variance[row] += pairs**2 * variance
        self.pairs[row] += pairs

    def set_exact(self, rows: torch.Tensor, values: torch.Tensor) -> None:
        """Replace the samples of some rows with exact values."""
        self.values[rows], self.variance[rows], self.pairs[rows] = EXACT_PAIRS * values, 0.0, EXACT_PAIRS

    def mean(self) -> torch.Tensor:
        return self.values / self.pairs

    def errors(self, floor: torch.Tensor) -> torch.Tensor:
        """Standard errors, at least `floor`. 99 % of values lie within three of them, even with few samples.

        A variance with few degrees of freedom is unreliable. It is first moved towards the mean over the players
        (moderated variance: Smyth 2004), and then widened by Student's t distribution.
        """
        common = self.variance.mean(-1, keepdim=True)
        variance = (self.pairs * self.variance + POOLED_DEGREES * common) / (self.pairs + POOLED_DEGREES)
        factors = [t_factor(degrees + POOLED_DEGREES) for degrees in self.pairs.flatten().tolist()]
        factor = torch.tensor(factors)[:, None, None]
        return (MEASURED_FACTOR * factor * variance.sqrt() / self.pairs).clamp(min=floor)


@lru_cache(maxsize=1024)
def t_factor(degrees: float) -> float:
    """The quantile of Student's t at the probability of three standard deviations of a normal, divided by three."""
    return float(stdtrit(degrees, ndtr(3.0))) / 3
