"""The coalitions at which an explained row is compared with the background rows.

Each coalition is evaluated together with its complement: M pairs cost 2M network rows. All sizes have the same total
probability (leverage sampling: Musco & Witter 2025), because the Shapley value gives them the same total weight.
A design has coalitions of labels 0 … P − 1, and several background rows share it. Each of them labels the players in
its own way: first the players with the largest shares, in random order, then those with smaller shares.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import torch

# At least this many designs, or one per background row; at most this many background rows share a design.
DESIGNS = 10
# This share of the pairs is spread evenly over the background rows, the rest in proportion to the guide's shares.
EVEN_SHARE = 0.5
# The players of each tier, as a cumulative share of all: within a tier, labels are random.
TIERS = (0.1, 0.3, 0.6, 1.0)
# Up to this number of coalitions of one size, a design draws without replacement.
MOST_LISTED = 300


@dataclass(frozen=True, slots=True)
class Design:
    """M coalitions of labels for b background rows.

    background: (b,), the numbers of the background rows. present: (M, P) bool, the members. size: (M,), their numbers.
    weight: (M,). With it, Σ weight · g(S) · (P − 1) · (1 / |S| for a member, −1 / (P − |S|) for another player) is an
        unbiased estimate of the Shapley values of any game with g(all players) = 0.
    unseen: (M,), the share of the coalitions of its size that are not among the other M − 1. Where coalitions are
        drawn with replacement, it is 1.
    """

    background: torch.Tensor
    present: torch.Tensor
    size: torch.Tensor
    weight: torch.Tensor
    unseen: torch.Tensor


def label_players(shares: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(B, P): the label of each player for each background row. shares: (B, P), the sizes of the guide's shares."""
    players = shares.shape[1]
    # Equal shares get random ranks.
    shuffled = torch.rand(shares.shape, generator=generator).argsort(-1)
    rank = shuffled.gather(1, shares.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)).argsort(1)
    tier = torch.bucketize(rank, tier_ends(players), right=True)
    return (tier + 0.999 * torch.rand(shares.shape, generator=generator)).argsort(1).argsort(1)


@lru_cache(maxsize=64)
def tier_ends(players: int) -> torch.Tensor:
    """The number of labels up to the end of each tier. Each tier has at least one label."""
    ends: list[int] = []
    for share in TIERS:
        ends.append(min(players, max(round(share * players), 1 + (ends[-1] if ends else 0))))
    return torch.tensor(sorted(set(ends)))


def draw_designs(
    players: int, weight: torch.Tensor, pairs: int, generator: torch.Generator, *, shared: bool
) -> list[Design]:
    """The designs of one round. weight: (B,), the guide's Σ|share| for each background row. pairs: the mean per row.

    shared: whether background rows with similar weights share a design; otherwise, each row has its own.
    What is drawn depends on the generator and on `weight` only.
    """
    rows = len(weight)
    relative = weight / weight.mean().clamp_min(1e-300)
    shuffled = torch.randperm(rows, generator=generator)
    order = shuffled[relative[shuffled].argsort(stable=True)]
    groups = order.tensor_split(max(min(rows, DESIGNS), rows // DESIGNS) if shared else rows)
    most = (1 << min(players - 1, 40)) - 1
    designs, ideal, given = [], 0.0, 0
    for group in groups:
        share = EVEN_SHARE + (1 - EVEN_SHARE) * float(relative[group].mean()) if float(weight.sum()) > 0 else 1.0
        # What rounding takes from one design, the next one gets.
        ideal += pairs * share * len(group)
        count = min(most, max(1, round((ideal - given) / len(group))))
        given += count * len(group)
        designs.append(_draw(players, group, count, generator))
    return designs


def _draw(players: int, background: torch.Tensor, pairs: int, generator: torch.Generator) -> Design:
    ends, weights = _size_plan(players, pairs)
    # Systematic sampling: one place in each interval of length 1.
    place = torch.arange(pairs) + torch.rand(1, generator=generator, dtype=torch.float64)
    stratum = torch.searchsorted(ends, place, right=True).clamp_max(len(ends) - 1)
    size = stratum + 1
    unseen = torch.ones(pairs, dtype=torch.float64)
    for one, count in enumerate(size.bincount().tolist()):
        if count and comb(players, one) <= MOST_LISTED:
            unseen[size == one] = 1 - (count - 1) / len(_listed(players, one))
    return Design(background, _members(size, players, generator), size, weights[stratum] / pairs, unseen)


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
