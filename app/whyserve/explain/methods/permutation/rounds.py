"""The designs of one round of sampling, padded to one size, and the background rows that share them.

A round depends on the seed, on the numbers of pairs of its designs, and on the prior (`profile`). So it is kept, and
serves the next explained rows.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from typing import TypeVar

import torch
from torch.nn.functional import pad
from torch.utils._python_dispatch import _disable_current_modes

from whyserve.explain.game.device import on_cpu
from whyserve.explain.game.masking import Kept
from whyserve.explain.methods.permutation.design import Design, make_design, tier_ends, tiers

T = TypeVar("T")

# At least this many designs, or one per background row; at most this many background rows share a design.
DESIGNS = 10
# Designs with more than this number of pairs take longer to make than to use. Those with equal numbers are one design …
MOST_APART = 64
# … if the first two tiers have at least so many labels: with fewer, their errors would be too similar.
LEAST_LABELS = 4
# This share of the pairs is spread evenly over the background rows, the rest in proportion to the guide's shares.
EVEN_SHARE = 0.5
# The numbers of pairs of the designs differ by multiples of this share of the mean, so that few designs are needed.
STEP = 0.125
# Up to this share of a player of the first tier, relative to the mean, shares count as equal.
EQUAL_SHARES = 1.6


@dataclass(frozen=True, slots=True)
class Round:
    """D designs of at most M pairs, each for b background rows: D·b slots, and N pairs of coalitions to evaluate.

    Shorter designs end with zeros; groups with fewer background rows end with a copy of their last one.
    place: (D·b,): the place of the slot's background row in ascending order of Σ|share|. slots: (B,): one slot of each.
    present: (N, P) int32 by label: −1, all bits, for a member, otherwise 0. slot: (N,). index: (D·(M + 1)·b,): where
    the values of each design are in the N values, a 0, and the D·b values of the full coalition.
    signs: (D, M + 1, P), maps the shares of a linear game to its g. posterior, residual, correction, spread: as Design
    has them, the residual and the correction in single precision. total: (D·M,), the sums of the spread over P.
    """

    place: torch.Tensor
    slots: torch.Tensor
    present: torch.Tensor
    slot: torch.Tensor
    index: torch.Tensor
    signs: torch.Tensor
    posterior: torch.Tensor
    residual: torch.Tensor
    correction: torch.Tensor
    spread: torch.Tensor
    total: torch.Tensor

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self._parts())

    def on(self, device: torch.device) -> "Round":
        """The same round on a device."""
        return Round(*(part.to(device) for part in self._parts()))

    def _parts(self) -> list[torch.Tensor]:
        return [getattr(self, each.name) for each in fields(self)]


Draw = tuple[Round, torch.Tensor, torch.Tensor]
"""A round, and by slot the number of its background row, (S,), and the labels of the players, (S, P)."""


class Rounds:
    """The rounds of a background of B rows and P players, kept for the next explained rows. Thread-safe."""

    def __init__(self, rows: int, players: int) -> None:
        self.rows, self.players = rows, players
        self._rounds, self._designs = Kept[Round](), Kept[Design]()

    def of(self, rows: int, players: int) -> "Rounds":
        """Rounds of another game, kept together with these."""
        other = copy(self)
        other.rows, other.players = rows, players
        return other

    def draw(self, shares: torch.Tensor, pairs: int, seed: int) -> Draw:
        """Draw a round.

        shares: (B, P), the sizes of the guide's shares. pairs: the mean per background row. Background rows with
        similar Σ|share| share a design. What is drawn depends on the seed and on `shares` only.
        """
        device = shares.device
        tie, of_rows, by_rank = random_labels(self.rows, self.players, seed, device)
        sums = shares.sum(1)
        if not (everything := float(sums.sum())) > 0:
            shares, everything = torch.ones_like(shares), float(shares.numel())
            sums = shares.sum(1)
        # Equal shares get random ranks.
        ascending, order = sums.add_(of_rows, alpha=1e-9 * everything / self.rows).sort()
        ranked, ranks = shares.add(tie, alpha=1e-9 * everything / shares.numel()).sort(1, descending=True)
        first, *others = tier_ends(self.players)
        apart = (others or [first])[0] < LEAST_LABELS
        top = float(ranked[:, :first].sum()) / first * self.players / everything
        plan = allocate((ascending * (self.rows / everything)).tolist(), pairs, 1 << min(self.players - 1, 40))
        profile = int(top > EQUAL_SHARES)

        def make() -> Round:
            made, seen = [], Counter[int]()
            for count, _ in plan:
                number = seen[count] if apart or count <= MOST_APART else 0
                of_design = (self.players, count, profile, seed, number)
                made.append(self._designs.get(of_design, partial(make_design, *of_design)))
                seen[count] += 1
            return stack(made, [sharing for _, sharing in plan]).on(device)

        found = self._rounds.get((self.players, profile, seed, plan), partial(uncounted, make, device))
        rows = order.index_select(0, found.place)
        return found, rows, torch.empty_like(by_rank).scatter_(1, ranks, by_rank).index_select(0, rows)


def uncounted(make: Callable[[], T], device: torch.device) -> T:
    """What `make` returns. It is kept for the next rows, so its operations do not count as work of one row.

    Random numbers are made on the CPU, so a seed gives the same ones for every device.
    """
    with _disable_current_modes():
        return make() if device.type == "cpu" else on_cpu(make)


@lru_cache(maxsize=4)
def random_labels(rows: int, players: int, seed: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Numbers in [0, 1) that order equal shares, (B, P), and equal rows, (B,); and the label of each rank, (B, P)."""

    def make() -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        tie, order = torch.rand(2, rows, players, generator=generator, dtype=torch.float64)
        return tuple(x.to(device) for x in (tie, tie[:, 0], (tiers(players) + 0.999 * order).argsort(1)))

    return uncounted(make, device)


def allocate(ascending: Sequence[float], pairs: int, existing: int) -> tuple[tuple[int, int], ...]:
    """The pairs and the background rows of each design. A design has fewer pairs than exist.

    ascending: (B,), Σ|share| relative to the mean. pairs: the mean per background row.
    """
    rows, step, made = len(ascending), max(1, round(STEP * pairs)), list[tuple[int, int]]()
    groups, first, ideal, given = max(min(rows, DESIGNS), rows // DESIGNS), 0, 0.0, 0
    for number in range(groups):
        last = rows * (number + 1) // groups
        # What rounding takes from one design, the next one gets.
        ideal += pairs * (EVEN_SHARE * (last - first) + (1 - EVEN_SHARE) * sum(ascending[first:last]))
        count = min(existing - 1, max(1, step * round((ideal - given) / (last - first) / step)))
        given += count * (last - first)
        made.append((count, last - first))
        first = last
    return tuple(made)


def stack(designs: Sequence[Design], sharing: Sequence[int]) -> Round:
    """The round of some designs. sharing: the background rows of each."""
    most, wide = max(len(design.present) for design in designs), max(sharing)
    total = sum(len(design.present) * own for design, own in zip(designs, sharing, strict=True))
    parts, matrices, pairs, rows = [], [], 0, 0
    for number, (design, own) in enumerate(zip(designs, sharing, strict=True)):
        count, short, base = len(design.present), most - len(design.present), number * wide
        column, slots = torch.arange(wide).clamp_max(own - 1), base + torch.arange(own)
        index = torch.full((most + 1, wide), total)
        index[:count] = pairs + own * torch.arange(count)[:, None] + column
        index[most] = total + 1 + base + torch.arange(wide)
        present = design.present.int().neg().repeat_interleave(own, 0)
        parts.append((rows + column, slots, present, slots.repeat(count), index.flatten()))
        signs = pad(torch.where(design.present, 0.5, -0.5).double(), (0, 0, 0, short + 1))
        signs[most] = 0.5
        posterior, residual = (
            torch.cat([pad(x[:, :-1], (0, short)), x[:, -1:]], 1) for x in (design.posterior, design.residual)
        )
        correction, spread = (pad(x, (0, short)) for x in (design.correction, design.spread))
        matrices.append((signs, posterior, pad(residual, (0, 0, 0, short)).float(), correction.float(), spread))
        pairs, rows = pairs + count * own, rows + own
    joined = [torch.cat(part) for part in zip(*parts, strict=True)]
    joined += [torch.stack(part) for part in zip(*matrices, strict=True)]
    return Round(*joined, *[joined[-1].sum(1).flatten()])
