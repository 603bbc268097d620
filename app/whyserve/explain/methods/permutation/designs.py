"""Which coalitions a row and a background row are compared at, and how their values become Shapley values.

A design names its coalitions once, for players 0 … P−1; every background row gets them under a random renaming of
its own, which is what makes the answer unbiased. Each coalition is evaluated together with its complement.
"""

from functools import lru_cache
from math import comb
from typing import Protocol

import torch

from whyserve.explain.methods.permutation.kriging import REACH, Prior, expected_error, weights

# Kriging inverts a matrix of pairs × pairs; beyond these sizes walks are averaged instead.
MOST_PLAYERS_SPREAD = 64
MOST_PAIRS_SPREAD = 1600


class Design(Protocol):
    """M pairs of complementary coalitions for P players.

    pairs: M. groups: G parts of the design that each give an estimate of their own.
    shrink: by how much the variance of the whole is expected to lie below that of the parts' mean.
    precision: how many walks it is expected to be worth, to weigh designs against each other.
    """

    pairs: int
    groups: int
    shrink: float
    precision: float

    def present(self, places: torch.Tensor, part: slice) -> torch.Tensor:
        """(B, m, P) bool: the coalitions `part` when player p plays the part of player places[b, p]."""
        ...

    def combine(self, odd: torch.Tensor, whole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From g, (…, M), and g of all players, (…): φ, (…, P), and Σ over groups of (part − mean of parts)², (…, P).

        Both by the design's own players. Of a single group the second is φ²: how φ itself differs over the pairs is
        all that one walk can tell.
        """
        ...


class Walks:
    """`count` random walks from none to all and back in reverse (Mitchell et al. 2022, antithetic permutations)."""

    shrink = 1.0

    def __init__(self, players: int, count: int, generator: torch.Generator) -> None:
        self.players, self.groups, self.pairs = players, count, count * (players - 1)
        self.precision = float(count)
        self.place = torch.rand(count, players, generator=generator).argsort(-1)

    def present(self, places: torch.Tensor, part: slice) -> torch.Tensor:
        at = torch.arange(part.start, part.stop)
        walk, size = at // (self.players - 1), at % (self.players - 1) + 1
        return self.place[walk][:, places].transpose(0, 1) < size[:, None]

    def combine(self, odd: torch.Tensor, whole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        between = odd.reshape(*odd.shape[:-1], self.groups, self.players - 1)
        end = whole[..., None, None].expand(*between.shape[:-1], 1)
        gains = torch.cat([-end, between, end], -1).diff(dim=-1)
        parts = gains.gather(-1, self.place.expand(gains.shape))
        if self.groups == 1:
            return parts[..., 0, :], parts[..., 0, :].square()
        return parts.mean(-2), parts.var(-2) * (self.groups - 1)


class Spread:
    """Coalitions spread over all sizes alike (leverage sampling: Musco & Witter 2025), none twice, weighed by kriging.

    Each group begins with a walk, so that it can tell all single effects apart; the others are random. Sizes come as
    often as in a walk until a size has no coalition left.
    """

    def __init__(self, players: int, walks: int, groups: int, generator: torch.Generator) -> None:
        signs, mine = spread(players, walks, groups, generator)
        self.groups, self.pairs, self.coalitions = groups, len(signs), signs > 0
        prior = Prior(players)
        self.players, whole = players, weights(signs, prior)
        parts = torch.zeros(groups, players, self.pairs + 1, dtype=torch.float64)
        for number in range(groups):
            columns = torch.cat([mine[number].nonzero()[:, 0], torch.tensor([self.pairs])])
            parts[number][:, columns] = weights(signs[mine[number]], prior)
        apart = torch.einsum("cg,gpm->cpm", contrasts(groups), parts)
        self.operator = torch.cat([whole, apart.flatten(0, 1)]).T.contiguous()
        self.precision = walk_error(players, prior) / max(1e-9, expected_error(whole, signs, prior))
        # Honest whichever orders the game's interactions have: the largest ratio that a prior gives.
        self.shrink = max(
            1e-6, *(_shrink(whole, apart, signs, Prior(players, r)) for r in (REACH / 2, REACH, 2 * REACH))
        )

    def present(self, places: torch.Tensor, part: slice) -> torch.Tensor:
        return self.coalitions[part][:, places].transpose(0, 1)

    def combine(self, odd: torch.Tensor, whole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        both = torch.cat([odd, whole.unsqueeze(-1)], -1) @ self.operator
        apart = both[..., self.players :]
        return both[..., : self.players], apart.square().reshape(*odd.shape[:-1], self.groups - 1, self.players).sum(-2)


def _shrink(whole: torch.Tensor, apart: torch.Tensor, signs: torch.Tensor, prior: Prior) -> float:
    """Expected squared error of the whole over what the spread of its parts says of their mean."""
    seen = torch.cat([signs, torch.ones(1, signs.shape[1], dtype=torch.float64)])
    spread = torch.einsum("gpm,mn,gpn->", apart, prior.of_coalitions(seen), apart)
    return expected_error(whole, signs, prior) / (float(spread) / (len(apart) * (len(apart) + 1)))


def contrasts(count: int) -> torch.Tensor:
    """(count − 1, count), orthonormal lines that each sum to zero (Helmert): Σ (line · x)² = Σ (x − mean x)²."""
    lines = torch.tril(torch.ones(count - 1, count, dtype=torch.float64))
    place = torch.arange(1, count)
    lines[place - 1, place] = -place.double()
    return lines / (place * (place + 1)).double().sqrt()[:, None]


def walk_error(players: int, prior: Prior) -> float:
    """Expected squared error of one walk, the measure of a design's precision."""
    signs = -torch.ones(players - 1, players, dtype=torch.float64)
    for number in range(players - 1):
        signs[number, list(folded(list(range(number + 1)), players))] = 1
    return expected_error(weights(signs, prior), signs, prior)


def fits_spread(players: int, walks: int) -> bool:
    """Whether kriging can weigh so many coalitions."""
    return players <= MOST_PLAYERS_SPREAD and walks * (players - 1) <= MOST_PAIRS_SPREAD


def spread(players: int, walks: int, groups: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """About walks · (P − 1) lines, (M, P) of ±1 with at most P/2 of +1, and whose they are, (G, M) bool."""
    half = players // 2
    room = [0] + [comb(players, size) // (2 if 2 * size == players else 1) for size in range(1, half + 1)]
    wanted = [0] + [walks * (1 if 2 * size == players else 2) for size in range(1, half + 1)]
    missing = sum(max(0, want - have) for want, have in zip(wanted, room, strict=True))
    quota = [min(pair) for pair in zip(wanted, room, strict=True)]
    for size in range(half, 0, -1):  # what small sizes have no room for goes to the middle
        more = min(missing, room[size] - quota[size])
        quota[size], missing = quota[size] + more, missing - more
    lines: dict[tuple[int, ...], set[int]] = {}
    for group in range(groups):
        order = torch.rand(players, generator=generator).argsort().tolist()
        for size in range(1, players):
            lines.setdefault(folded(order[:size], players), set()).add(group)
    for size in range(1, half + 1):
        missing = quota[size] - sum(len(line) == size for line in lines)
        while missing > 0:
            line = folded(torch.rand(players, generator=generator).argsort()[:size].tolist(), players)
            if line not in lines:
                lines[line], missing = {missing % groups}, missing - 1
    signs = -torch.ones(len(lines), players, dtype=torch.float64)
    mine = torch.zeros(groups, len(lines), dtype=torch.bool)
    for number, (line, of) in enumerate(lines.items()):
        signs[number, list(line)] = 1
        mine[list(of), number] = True
    return signs, mine


def folded(coalition: list[int], players: int) -> tuple[int, ...]:
    """The smaller of a coalition and its complement, sorted; of two halves the one with player 0."""
    inside = set(coalition)
    if 2 * len(inside) > players or (2 * len(inside) == players and 0 not in inside):
        inside = set(range(players)) - inside
    return tuple(sorted(inside))


@lru_cache(maxsize=64)
def make_design(players: int, walks: int, groups: int) -> Design:
    """The coalitions of a round, the same for every call; chance enters with the renaming."""
    generator = torch.Generator().manual_seed(players * 1009 + walks)
    if walks == 1 or not fits_spread(players, walks):
        return Walks(players, walks, generator)
    return Spread(players, walks, groups, generator)
