"""One design: coalitions at which background rows are compared with the explained row, and what their values say.

Each coalition is evaluated together with its complement: M pairs cost 2M network rows. All sizes have the same total
probability (leverage sampling: Musco & Witter 2025), because the Shapley value gives them the same total weight.
A design has coalitions of labels 0 … P − 1. The players with the largest shares have the first labels.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import combinations
from math import comb

import torch

from whyserve.explain.methods.permutation.kriging import krige

# The players of each tier, as a cumulative share of all: within a tier, labels are random.
TIERS = (0.05, 0.15, 0.35, 0.65, 1.0)
# The prior of a player by tier: for shares that are equal, and for shares that differ as in most networks.
PROFILES = ((1.0, 1.0, 1.0, 1.0, 1.0), (5.0, 2.6, 1.2, 0.55, 0.15))
# Up to this number of coalitions of one size, a design draws without replacement.
MOST_LISTED = 300


@dataclass(frozen=True, slots=True)
class Design:
    """M coalitions of labels, and the matrices that combine their values g, (M + 1,), the last of the full coalition.

    present: (M, P) bool. posterior: (P, M + 1), the leave-one-out posterior mean of φ. residual: (M, M + 1), the
    leave-one-out residuals. correction: (P, M), what they add to φ. spread: (P, M), the variance of φ's error from
    their squares.
    """

    present: torch.Tensor
    posterior: torch.Tensor
    residual: torch.Tensor
    correction: torch.Tensor
    spread: torch.Tensor

    @property
    def nbytes(self) -> int:
        return sum(getattr(self, part.name).nbytes for part in fields(self))


@lru_cache(maxsize=64)
def tier_ends(players: int) -> tuple[int, ...]:
    """The number of labels up to the end of each tier. Each tier has at least one label."""
    ends: list[int] = []
    for share in TIERS:
        ends.append(min(players, max(round(share * players), 1 + (ends[-1] if ends else 0))))
    return tuple(sorted(set(ends)))


@lru_cache(maxsize=64)
def tiers(players: int) -> torch.Tensor:
    """(P,): the tier of each label."""
    return torch.bucketize(torch.arange(players), torch.tensor(tier_ends(players)), right=True)


def make_design(players: int, pairs: int, profile: int, seed: int, number: int) -> Design:
    """The design of a number of pairs. Designs with another number, or of other pairs, are independent.

    With w = weight, Σ w · g(S) · (P − 1) · (1 / |S| for a member, −1 / (P − |S|) for another player) is an unbiased
    estimate of the Shapley values of any game with g(all players) = 0. The correction applies it to the residuals.
    """
    generator = torch.Generator().manual_seed(((seed * 1009 + number) * 8209 + pairs) % (1 << 63))
    ends, weights = _size_plan(players, pairs)
    # Systematic sampling: one place in each interval of length 1.
    place = torch.arange(pairs) + torch.rand(1, generator=generator, dtype=torch.float64)
    stratum = torch.searchsorted(ends, place, right=True).clamp_max(len(ends) - 1)
    size, weight = stratum + 1, weights[stratum] / pairs
    # The share of the coalitions of a size that are not among the other M − 1: 1 if drawn with replacement.
    unseen = torch.ones(pairs, dtype=torch.float64)
    for one, count in enumerate(size.bincount().tolist()):
        if count and comb(players, one) <= MOST_LISTED:
            unseen[size == one] = 1 - (count - 1) / len(_listed(players, one))
    present = _members(size, players, generator)
    sizes = torch.tensor(PROFILES[profile], dtype=torch.float64)[tiers(players)]
    posterior, residual = krige(present, weight, sizes)
    # The residuals of coalitions that are evaluated anyway are 0. The variance of a sum over a finite population
    # has the share that is not drawn as a factor, and not its square.
    effect = (players - 1) * weight * torch.where(present.T, 1 / size, 1 / (size - players))
    return Design(present, posterior, residual, effect * unseen, effect.square() * unseen)


@lru_cache(maxsize=4096)
def _size_plan(players: int, pairs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """For sizes 1 … P/2, each (P // 2,): the cumulative expected numbers of pairs, and the weight of one pair.

    A coalition of size k stands for its complement too. If fewer coalitions of a size exist than wanted, the other
    sizes get more, and the weight of a pair corrects for it (Horvitz & Thompson 1952).
    """
    sizes = range(1, players // 2 + 1)
    halves = torch.tensor([2 if 2 * size == players else 1 for size in sizes], dtype=torch.float64)
    wanted = 2 / halves * pairs / (players - 1)
    existing = torch.tensor([float(min(comb(players, size), 1 << 40)) for size in sizes], dtype=torch.float64) / halves
    expected = wanted.minimum(existing)
    while pairs - float(expected.sum()) > 1e-6 and bool((expected < existing).any()):
        free = expected < existing
        expected = (expected + free * wanted * (pairs - expected.sum()) / wanted[free].sum()).minimum(existing)
    return expected.cumsum(0), wanted / expected


def _members(size: torch.Tensor, players: int, generator: torch.Generator) -> torch.Tensor:
    """(M, P) bool: random coalitions of `size`, (M,) ascending, distinct where few of a size exist."""
    present = torch.rand(len(size), players, generator=generator).argsort(-1) < size[:, None]
    for one in range(1, int(size[-1]) + 1):
        if comb(players, one) > MOST_LISTED:
            break
        listed, chosen = _listed(players, one), size == one
        present[chosen] = listed[torch.randperm(len(listed), generator=generator)[: int(chosen.sum())]]
    return present


@lru_cache(maxsize=256)
def _listed(players: int, size: int) -> torch.Tensor:
    """(C, P) bool: every coalition of a size. Of two complementary halves, only the one with player 0."""
    chosen = [each for each in combinations(range(players), size) if 2 * size != players or 0 in each]
    listed = torch.zeros(len(chosen), players, dtype=torch.bool)
    listed[torch.arange(len(chosen))[:, None], torch.tensor(chosen)] = True
    return listed
