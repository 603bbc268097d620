"""Combine the rounds of sampling into one estimate with reliable standard errors."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy.special import ndtr, stdtrit

# Estimate.errors adds this many degrees of freedom, with the mean variance over the players.
POOLED_DEGREES = 3
# Measured: leave-one-out residuals are a little smaller than the errors, and of two variances the smaller one counts.
MEASURED_FACTOR = 1.07
# The degrees of freedom of an exact value.
EXACT_DEGREES = 1e6
# Measured: the variance of a round falls with about this power of its pairs.
WEIGHT_POWER = 1.5
# Of a correction that is as small as its error, this share is taken for noise and left out …
NOISE_SHARE = 0.5
# … up to this share of the standard error of each value: the bias is smaller than that.
MOST_LEFT_OUT = 0.15


@dataclass(slots=True)
class Estimate:
    """The mean of the rounds so far, weighted by a power of their pairs of coalitions.

    Of each row: what rounds found, (3, K, P) as Sample has them, Σ weight, and the degrees of freedom of the variance,
    Σ pairs. Values and corrections have the weight, variances its square.
    """

    parts: list[torch.Tensor]
    weight: list[float]
    degrees: list[float]

    @classmethod
    def empty(cls, rows: int, outputs: int, players: int) -> "Estimate":
        zero = torch.zeros(3, outputs, players, dtype=torch.float64)
        return cls([zero] * rows, [0.0] * rows, [0.0] * rows)

    def add(self, row: int, parts: torch.Tensor, pairs: int) -> None:
        """Add a round of one row: its values, their correction and the variance of the error, (3, K, P)."""
        weight = float(pairs) ** WEIGHT_POWER
        if before := self.weight[row]:
            shares = torch.tensor(((before,), (weight,)), dtype=parts.dtype) / (before + weight)
            old, new = torch.cat([shares, shares, shares**2], 1)[..., None, None]
            parts = torch.addcmul(self.parts[row] * old, parts, new)
        self.parts[row] = parts
        self.weight[row] += weight
        self.degrees[row] += pairs

    def set_exact(self, row: int, values: torch.Tensor) -> None:
        """Replace the samples of a row with exact values, (K, P)."""
        nothing = torch.zeros_like(values)
        self.parts[row], self.degrees[row] = torch.stack([values, nothing, nothing]), EXACT_DEGREES

    def mean(self) -> torch.Tensor:
        """φ, (R, K, P)."""
        return torch.stack([value + shrunk(*rest) for value, *rest in self.parts])

    def errors(self, floor: torch.Tensor) -> torch.Tensor:
        """Standard errors, (R, K, P), at least `floor`. 99 % of values lie within three of them.

        A variance with few degrees of freedom is unreliable. It is first moved towards the mean over the players
        (moderated variance: Smyth 2004), and then widened by Student's t distribution.
        """
        found = []
        for (_, _, variance), degrees in zip(self.parts, self.degrees, strict=True):
            factor = (MEASURED_FACTOR * t_factor(degrees + POOLED_DEGREES)) ** 2 / (degrees + POOLED_DEGREES)
            common = variance.sum(-1, keepdim=True).mul_(factor * POOLED_DEGREES / variance.shape[-1])
            found.append(common.add(variance, alpha=factor * degrees))
        return torch.stack(found).sqrt_().clamp_(min=floor)


def shrunk(correction: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """A correction, (K, P), less a part that is probably noise: a larger part of a smaller correction.

    variance: (K, P), of the whole error. Of the P numbers of a correction, P − 1 are free: their sum is 0. Fewer than
    three cannot be told from noise (James & Stein 1961). No value loses much (Efron & Morris 1972).
    """
    if (players := variance.shape[-1]) <= 3:
        return correction
    noise = variance.sum(-1, keepdim=True).mul_(NOISE_SHARE * (1 - 3 / players))
    share = noise.div_(correction.square().sum(-1, keepdim=True).clamp_min_(1e-300)).clamp_max_(1)
    most = variance.sqrt().mul_(MOST_LEFT_OUT)
    left_out = (correction * share).clamp_(-most, most)
    return left_out.sub_(left_out.sum(-1, keepdim=True), alpha=1 / players).neg_().add_(correction)


@lru_cache(maxsize=1024)
def t_factor(degrees: float) -> float:
    """The quantile of Student's t at the probability of three standard deviations of a normal, divided by three."""
    return float(stdtrit(degrees, ndtr(3.0))) / 3
