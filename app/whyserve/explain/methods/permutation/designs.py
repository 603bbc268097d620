"""Designs: the coalitions at which a row is compared with a background row, and how they become Shapley values.

A design has coalitions of players labelled 0 … P − 1. Each background row uses them under its own random labels, which
makes the estimate unbiased. Each coalition is evaluated together with its complement: M pairs cost 2M network rows.
"""

from functools import lru_cache
from math import comb
from typing import Protocol

import torch

from whyserve.explain.methods.permutation.kriging import (
    SCALE,
    Prior,
    expected_squared_error,
    weights,
    with_full_coalition,
)

# Kriging inverts a matrix of pairs × pairs. Above these sizes, plain permutations are averaged.
MOST_PLAYERS_KRIGING = 64
MOST_PAIRS_KRIGING = 1600


class Design(Protocol):
    """M pairs of complementary coalitions for P players.

    pairs: M. groups: G, the number of parts that each give an estimate of their own, for the standard error.
    variance_ratio: the expected variance of the design's estimate over that of the mean of its groups.
    precision: the number of permutations with the same expected error; the weight of a round.
    """

    pairs: int
    groups: int
    variance_ratio: float
    precision: float

    def present(self, labels: torch.Tensor, part: slice) -> torch.Tensor:
        """(B, m, P) bool: the coalitions `part`. Player p has the label labels[b, p] for background row b."""
        ...

    def combine(self, differences: torch.Tensor, total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """φ, (…, P), and Σ over groups of (φ of the group − mean over groups)², (…, P), both by label.

        differences: (…, M), half the value of each coalition minus half that of its complement.
        total: (…), half the value of all players minus half that of none.
        With one group, the second result is φ²: then only the spread of φ over background rows shows its error.
        """
        ...


class AntitheticPermutations:
    """`count` random permutations, each with its reverse (antithetic sampling: Mitchell et al. 2022).

    The first c players of a permutation are the complement of the first P − c of its reverse. P − 1 pairs therefore
    evaluate both.
    """

    variance_ratio = 1.0

    def __init__(self, players: int, count: int, generator: torch.Generator) -> None:
        self.players, self.groups, self.pairs = players, count, count * (players - 1)
        self.precision = float(count)
        self.position = torch.rand(count, players, generator=generator).argsort(-1)

    def present(self, labels: torch.Tensor, part: slice) -> torch.Tensor:
        pair = torch.arange(part.start, part.stop)
        permutation, size = pair // (self.players - 1), pair % (self.players - 1) + 1
        return self.position[permutation][:, labels].transpose(0, 1) < size[:, None]

    def combine(self, differences: torch.Tensor, total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inner = differences.reshape(*differences.shape[:-1], self.groups, self.players - 1)
        end = total[..., None, None].expand(*inner.shape[:-1], 1)
        # g of the first 0 … P players. A step adds one player, and its change is the mean contribution of that player
        # in the permutation and in the reverse.
        contributions = torch.cat([-end, inner, end], -1).diff(dim=-1)
        estimates = contributions.gather(-1, self.position.expand(contributions.shape))
        if self.groups == 1:
            return estimates[..., 0, :], estimates[..., 0, :].square()
        return estimates.mean(-2), estimates.var(-2) * (self.groups - 1)


class LeverageSamples:
    """Different coalitions, equally many of every size (leverage sampling: Musco & Witter 2025), weighted by kriging.

    Each group contains one permutation, so that it can separate all single effects; its other coalitions are random.
    If there are fewer coalitions of a size than wanted, larger sizes get more.
    """

    def __init__(self, players: int, permutations: int, groups: int, generator: torch.Generator) -> None:
        signs, members = draw_coalitions(players, permutations, groups, generator)
        self.players, self.groups, self.pairs, self.coalitions = players, groups, len(signs), signs > 0
        prior = Prior(players)
        operator = weights(signs, prior)
        by_group = torch.zeros(groups, players, self.pairs + 1, dtype=torch.float64)
        for number in range(groups):
            columns = torch.cat([members[number].nonzero()[:, 0], torch.tensor([self.pairs])])
            by_group[number][:, columns] = weights(signs[members[number]], prior)
        contrasts = torch.einsum("cg,gpm->cpm", helmert_contrasts(groups), by_group)
        # One product gives the estimate and the contrasts between groups.
        self.operator = torch.cat([operator, contrasts.flatten(0, 1)]).T.contiguous()
        error = expected_squared_error(operator, signs, prior)
        self.precision = permutation_error(players, prior) / max(1e-9, error)
        # The orders of the game's interactions are unknown: the largest ratio of three priors is the safe one.
        scales = (SCALE / 2, SCALE, 2 * SCALE)
        ratios = (_variance_ratio(operator, contrasts, signs, Prior(players, scale)) for scale in scales)
        self.variance_ratio = max(1e-6, *ratios)

    def present(self, labels: torch.Tensor, part: slice) -> torch.Tensor:
        return self.coalitions[part][:, labels].transpose(0, 1)

    def combine(self, differences: torch.Tensor, total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        both = torch.cat([differences, total.unsqueeze(-1)], -1) @ self.operator
        contrasts = both[..., self.players :].square().reshape(*differences.shape[:-1], self.groups - 1, self.players)
        return both[..., : self.players], contrasts.sum(-2)


def _variance_ratio(operator: torch.Tensor, contrasts: torch.Tensor, signs: torch.Tensor, prior: Prior) -> float:
    """Expected squared error of the whole design, over the variance of the mean of its groups."""
    covariance = prior.coalition_covariance(with_full_coalition(signs))
    spread = torch.einsum("gpm,mn,gpn->", contrasts, covariance, contrasts)
    return expected_squared_error(operator, signs, prior) / (float(spread) / (len(contrasts) * (len(contrasts) + 1)))


def helmert_contrasts(count: int) -> torch.Tensor:
    """(count − 1, count), orthonormal rows that sum to zero (Helmert): Σ (row · x)² = Σ (x − mean x)²."""
    rows = torch.tril(torch.ones(count - 1, count, dtype=torch.float64))
    number = torch.arange(1, count)
    rows[number - 1, number] = -number.double()
    return rows / (number * (number + 1)).double().sqrt()[:, None]


def permutation_error(players: int, prior: Prior) -> float:
    """The expected squared error of one antithetic permutation: the unit of a design's precision."""
    signs = -torch.ones(players - 1, players, dtype=torch.float64)
    for number in range(players - 1):
        signs[number, list(smaller_half(list(range(number + 1)), players))] = 1
    return expected_squared_error(weights(signs, prior), signs, prior)


def fits_kriging(players: int, permutations: int) -> bool:
    """Whether the coalitions of so many permutations are few enough for kriging."""
    return players <= MOST_PLAYERS_KRIGING and permutations * (players - 1) <= MOST_PAIRS_KRIGING


def draw_coalitions(
    players: int, permutations: int, groups: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """About permutations · (P − 1) different coalitions of at most P/2 players.

    Returns the coalitions, (M, P) of ±1, and the members of each group, (G, M) bool.
    """
    groups_of: dict[tuple[int, ...], set[int]] = {}
    for group in range(groups):
        order = torch.rand(players, generator=generator).argsort().tolist()
        for size in range(1, players):
            groups_of.setdefault(smaller_half(order[:size], players), set()).add(group)
    for size, count in _counts_by_size(players, permutations):
        missing = count - sum(len(coalition) == size for coalition in groups_of)
        while missing > 0:
            members = torch.rand(players, generator=generator).argsort()[:size].tolist()
            coalition = smaller_half(members, players)
            if coalition not in groups_of:
                groups_of[coalition], missing = {missing % groups}, missing - 1
    signs = -torch.ones(len(groups_of), players, dtype=torch.float64)
    in_group = torch.zeros(groups, len(groups_of), dtype=torch.bool)
    for number, (coalition, numbers) in enumerate(groups_of.items()):
        signs[number, list(coalition)] = 1
        in_group[list(numbers), number] = True
    return signs, in_group


def _counts_by_size(players: int, permutations: int) -> list[tuple[int, int]]:
    """How many coalitions of each size 1 … P/2 to draw: as many as in the permutations, as far as they exist."""
    sizes = range(1, players // 2 + 1)
    existing = [0] + [comb(players, size) // (2 if 2 * size == players else 1) for size in sizes]
    wanted = [0] + [permutations * (1 if 2 * size == players else 2) for size in sizes]
    missing = sum(max(0, want - have) for want, have in zip(wanted, existing, strict=True))
    counts = [min(pair) for pair in zip(wanted, existing, strict=True)]
    for size in reversed(sizes):  # the middle sizes have the most coalitions, so they replace missing small ones
        more = min(missing, existing[size] - counts[size])
        counts[size], missing = counts[size] + more, missing - more
    return [(size, counts[size]) for size in sizes]


def smaller_half(coalition: list[int], players: int) -> tuple[int, ...]:
    """The smaller of a coalition and its complement, sorted. Of two equal halves, the one with player 0."""
    members = set(coalition)
    if 2 * len(members) > players or (2 * len(members) == players and 0 not in members):
        members = set(range(players)) - members
    return tuple(sorted(members))


@lru_cache(maxsize=64)
def make_design(players: int, permutations: int, groups: int) -> Design:
    """The design of a round, equal in every call. The seed of a call changes the labels only."""
    generator = torch.Generator().manual_seed(players * 1009 + permutations)
    if permutations == 1 or not fits_kriging(players, permutations):
        return AntitheticPermutations(players, permutations, generator)
    return LeverageSamples(players, permutations, groups, generator)
