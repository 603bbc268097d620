"""The coalitions at which an explained row is compared with the background rows, and what their values say.

Each coalition is evaluated together with its complement: M pairs cost 2M network rows. All sizes have the same total
probability (leverage sampling: Musco & Witter 2025), because the Shapley value gives them the same total weight.
A design has coalitions of labels 0 … P − 1, and several background rows share it. Each of them labels the players in
its own way: first the players with the largest shares, in random order, then those with smaller shares. A design
depends on the seed, the number of its pairs and the prior, so the next explained rows use it again.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from itertools import combinations
from math import comb
from typing import TypeVar

import torch
from torch.utils._python_dispatch import _disable_current_modes

from whyserve.explain.game.device import on_cpu
from whyserve.explain.game.masking import Kept
from whyserve.explain.methods.permutation.kriging import krige

T = TypeVar("T")

# At least this many designs, or one per background row; at most this many background rows share a design.
DESIGNS = 10
# This share of the pairs is spread evenly over the background rows, the rest in proportion to the guide's shares.
EVEN_SHARE = 0.5
# The numbers of pairs of the designs differ by multiples of this share of the mean, so that few designs are needed.
STEP = 0.125
# The players of each tier, as a cumulative share of all: within a tier, labels are random.
TIERS = (0.1, 0.3, 0.6, 1.0)
# The prior of a player by tier: for shares that are equal, that differ as in most networks, and that differ more.
PROFILES = ((1.0, 1.0, 1.0, 1.0), (3.0, 1.5, 0.75, 0.4), (6.0, 1.0, 0.35, 0.25))
# A profile is chosen up to this share of a player of the first tier, relative to the mean.
FIRST_TIER = (1.6, 4.2)
# Up to this number of coalitions of one size, a design draws without replacement.
MOST_LISTED = 300


@dataclass(frozen=True, slots=True)
class Design:
    """M coalitions of labels, and the matrices that combine their values g, (M + 1,), the last of the full coalition.

    present: (P, M) float32 of 0 and 1. signs: (M, P) of ±1/2, which maps the shares of a linear game to its g.
    estimate: (P, M + 1), the corrected φ. residual: (M, M + 1), the leave-one-out residuals. spread: (P, M), the
    variance of φ's error from the squares of the residuals.
    """

    present: torch.Tensor
    signs: torch.Tensor
    estimate: torch.Tensor
    residual: torch.Tensor
    spread: torch.Tensor

    @property
    def pairs(self) -> int:
        return len(self.signs)

    def on(self, device: torch.device) -> "Design":
        """The same design on a device."""
        return Design(*(getattr(self, each.name).to(device) for each in fields(self)))

    @property
    def nbytes(self) -> int:
        parts = (self.present, self.signs, self.estimate, self.residual, self.spread)
        return sum(part.nbytes for part in parts)


class Designs:
    """The designs of a background of B rows and P players, kept for the next explained rows. Thread-safe."""

    def __init__(self, rows: int, players: int) -> None:
        self.rows, self.players = rows, players
        self._designs = Kept[Design]()

    def of(self, rows: int, players: int) -> "Designs":
        """Designs for another game, kept together with these."""
        other = copy(self)
        other.rows, other.players = rows, players
        return other

    def label(self, shares: torch.Tensor, seed: int) -> torch.Tensor:
        """(B, P): the label of each player for each background row. shares: (B, P), the sizes of the guide's shares."""
        tie, by_rank = self._labels(seed, shares.device)
        # Equal shares get random ranks.
        relative = shares / shares.mean().clamp_min(1e-300) + 1e-9 * tie
        return torch.empty_like(by_rank).scatter_(1, relative.argsort(1, descending=True), by_rank)

    def draw(self, shares: torch.Tensor, pairs: int, seed: int) -> list[tuple[Design, torch.Tensor]]:
        """The designs of one round, each with the numbers of its background rows, (b,).

        shares: (B, P), the sizes of the guide's shares. Background rows with similar Σ|share| share a design.
        pairs: the mean per background row. What is drawn depends on the seed and on `shares` only.
        """
        weight, everything = shares.sum(1), float(shares.sum())
        relative = weight * (self.rows / everything) if everything > 0 else torch.ones_like(weight)
        ascending, order = (relative + 1e-9 * self._labels(seed, shares.device)[0][:, 0]).sort()
        top = shares.topk(tier_ends(self.players)[0], dim=1).values.mean() * shares.numel()
        profile = sum(float(top) > most * everything for most in FIRST_TIER)
        most, step, ideal, given = (1 << min(self.players - 1, 40)) - 1, max(1, round(STEP * pairs)), 0.0, 0
        groups = order.tensor_split(max(min(self.rows, DESIGNS), self.rows // DESIGNS))
        weights, first, drawn = ascending.tolist(), 0, []
        for number, group in enumerate(groups):
            own = weights[first : first + len(group)]
            first += len(group)
            # What rounding takes from one design, the next one gets. The last one gets the rest.
            ideal += pairs * (EVEN_SHARE * len(group) + (1 - EVEN_SHARE) * sum(own))
            unit = 1 if number == len(groups) - 1 else step
            count = min(most, max(1, unit * round((ideal - given) / len(group) / unit)))
            given += count * len(group)
            key = (self.players, count, profile, seed, number)
            make = partial(uncounted, partial(_design_on, shares.device, *key), shares.device)
            drawn.append((self._designs.get(key, make), group))
        return drawn

    def _labels(self, seed: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        tie, by_rank = uncounted(partial(random_labels, self.rows, self.players, seed), device)
        return tie.to(device), by_rank.to(device)


def uncounted(make: Callable[[], T], device: torch.device) -> T:
    """What `make` returns. It is kept for the next rows, so its operations do not count as work of one row.

    Random numbers are made on the CPU, so a seed gives the same ones for every device.
    """
    with _disable_current_modes():
        return make() if device.type == "cpu" else on_cpu(make)


def _design_on(device: torch.device, *key: int) -> Design:
    return make_design(*key).on(device)


@lru_cache(maxsize=4)
def random_labels(rows: int, players: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, P) each: numbers in [0, 1), which order equal shares, and the label of each rank."""
    generator = torch.Generator().manual_seed(seed)
    tie, order = torch.rand(2, rows, players, generator=generator, dtype=torch.float64)
    tier = torch.bucketize(torch.arange(players), torch.tensor(tier_ends(players)), right=True)
    return tie, (tier + 0.999 * order).argsort(1)


@lru_cache(maxsize=64)
def tier_ends(players: int) -> tuple[int, ...]:
    """The number of labels up to the end of each tier. Each tier has at least one label."""
    ends: list[int] = []
    for share in TIERS:
        ends.append(min(players, max(round(share * players), 1 + (ends[-1] if ends else 0))))
    return tuple(sorted(set(ends)))


def make_design(players: int, pairs: int, profile: int, seed: int, number: int) -> Design:
    """The design of a number of pairs. Designs with different numbers are independent.

    With w = weight, Σ w · g(S) · (P − 1) · (1 / |S| for a member, −1 / (P − |S|) for another player) is an unbiased
    estimate of the Shapley values of any game with g(all players) = 0. The correction applies it to the residuals.
    """
    generator = torch.Generator().manual_seed((seed * 1009 + number) % (1 << 63))
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
    tier = torch.bucketize(torch.arange(players), torch.tensor(tier_ends(players)), right=True)
    posterior, residual = krige(present, weight, torch.tensor(PROFILES[profile], dtype=torch.float64)[tier])
    # The residuals of coalitions that are evaluated anyway are 0. The variance of a sum over a finite population
    # has the share that is not drawn as a factor, and not its square.
    effect = (players - 1) * weight * torch.where(present.T, 1 / size, 1 / (size - players))
    signs = torch.where(present, 0.5, -0.5).double()
    return Design(
        present.T.float().contiguous(),
        signs,
        posterior + (effect * unseen) @ residual,
        residual,
        effect.square() * unseen,
    )


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
