"""Owen values from the groups and contexts that matter most, as in shap.PartitionExplainer.

An item is a group in a context: the players before it. Its expansion evaluates all mixed sets of its members, which
gives their Shapley values here, and the items of the members. The item with the largest effect is expanded first. At
the end, the other items share their effects among their members as in the expanded contexts of the same group. If no
item is left, the values are exact.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from math import comb
from typing import NamedTuple

import torch

from whyserve.explain.game.coalitions import coalitions, shapley_weights
from whyserve.explain.methods.owen.levels import Levels

# Items are expanded together until they need this many coalitions, or this share of all.
BATCH, BATCH_SHARE = 16, 1 / 32
# A share is shrunk where the members' values are this much larger than their sum.
RIDGE = 0.01
# After this share of the budget, the expansion ends if the contexts make less than LITTLE of the differences.
TRIAL_SHARE, LITTLE = 1 / 4, 0.1
TINY = 1e-300


class Item(NamedTuple):
    """A group in a context. effect: minus its largest effect on an output, for the order; number: breaks ties.

    before, after: (K,), the values of the context without and with the group.
    """

    effect: float
    number: int
    group: int
    context: torch.Tensor
    weight: float
    before: torch.Tensor
    after: torch.Tensor


class Expansion:
    """value: the values (n, K) of coalitions (n, P). ends: (2, K), of no player and of all. budget: coalitions."""

    def __init__(
        self, levels: Levels, value: Callable[[torch.Tensor], torch.Tensor], ends: torch.Tensor, budget: int
    ) -> None:
        self.levels, self.value, self.budget = levels, value, budget
        self.phi = torch.zeros(len(levels.inside), ends.shape[1], dtype=torch.float64)
        self.members = {group: members for group, members, _ in levels.groups}
        # Of each group: Σ w δ Δ and Σ w δ², (m, K), Σ w Δ², (1, K), the number of expanded items, Σ w δ, and Σ w.
        self.fits: dict[int, list[torch.Tensor]] = {}
        self.items, self.left, self.number = list[Item](), list[Item](), 0
        self._add(len(levels.inside) - 1, levels.inside[0] & False, 1.0, *ends)

    def run(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The values and their standard errors, (nodes, K). The values of groups are the sums of their players.

        None if contexts matter so little that random orders are better: they know every group from a few contexts.
        """
        trial = self.budget * (1 - TRIAL_SHARE) if self.budget < self.levels.cost else -1
        batch = max(BATCH, int(BATCH_SHARE * self.budget))
        while self.items:
            if self.budget <= trial:
                trial = -1
                if self._depends_on_context() < LITTLE:
                    return None
            chosen, sets = list[Item](), list[torch.Tensor]()
            while self.items and sum(map(len, sets)) < batch:
                item = heappop(self.items)
                count = len(self.members[item.group])
                if (1 << count) - 2 > self.budget:
                    self.left.append(item)
                    continue
                self.budget -= (1 << count) - 2
                chosen.append(item)
                sets.append(item.context | self.levels.union(coalitions(count)[1:-1], self.members[item.group]))
            if chosen:
                values = torch.split(self.value(torch.cat(sets)), list(map(len, sets)))
                for item, inner in zip(chosen, values, strict=True):
                    self._expand(item, torch.cat([item.before[None], inner, item.after[None]]))
        return self._shared()

    def _expand(self, item: Item, value: torch.Tensor) -> None:
        """value: (2^m, K), in the order of `coalitions`."""
        members, weight = self.members[item.group], item.weight
        count, effect = len(members), item.after - item.before
        sets = coalitions(count)
        shares = shapley_weights(sets) @ value
        apart = shares - effect / count
        parts = [weight * apart * effect, weight * apart.square(), weight * effect.square()[None], torch.ones(1, 1)]
        parts += [weight * apart, torch.full((1, 1), weight, dtype=torch.float64)]
        known = self.fits.get(item.group, [torch.zeros(1)] * len(parts))
        self.fits[item.group] = [one + other for one, other in zip(known, parts, strict=True)]
        contexts = item.context | self.levels.union(sets, members)
        for place, member in enumerate(members.tolist()):
            if member < self.levels.players:
                self.phi[member] += weight * shares[place]
                continue
            for before in (~sets[:, place]).nonzero()[:, 0].tolist():
                share = weight / (count * comb(count - 1, before.bit_count()))
                self._add(member, contexts[before], share, value[before], value[before | 1 << place])

    def _depends_on_context(self) -> float:
        """The part of Σ δ² that comes from the differences between the contexts of a group."""
        several = [each for each in self.fits.values() if float(each[3]) > 1]
        whole = sum(float(square.sum()) for _, square, *_ in several)
        common = sum(float((mean.square() / weight).sum()) for *_, mean, weight in several)
        return 1 - common / whole if whole else 1.0

    def _add(self, group: int, context: torch.Tensor, weight: float, before: torch.Tensor, after: torch.Tensor) -> None:
        self.number += 1
        effect = -weight * float((after - before).abs().max())
        heappush(self.items, Item(effect, self.number, group, context, weight, before, after))

    def _shared(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Share what is left, from the root inwards. A group that was never expanded shares equally.

        The error of a share is its spread over the expanded items of its group, moved towards that of all groups.
        """
        left, size, variance = (torch.zeros_like(self.phi) for _ in range(3))
        missing = left.new_zeros(len(left), 1)  # the weight of the contexts in which a group was not expanded
        for item in self.left:
            missing[item.group] += item.weight
            left[item.group] += item.weight * (item.after - item.before)
            size[item.group] += item.weight * (item.after - item.before).abs()
        spread, effects = (sum((each[at].sum(0) for each in self.fits.values()), left.new_zeros(1)) for at in (1, 2))
        usual = spread / (effects + RIDGE * spread + TINY)
        for group, members, _ in self.levels.groups:
            count = len(members)
            slope, error = torch.zeros(count, left.shape[1], dtype=torch.float64), usual * size[group].square()
            if group in self.fits:
                both, square, effect, number, _, weight = self.fits[group]
                scale = effect + RIDGE * square.sum(0) + TINY
                slope = both / scale
                residual = (square - 2 * slope * both + slope.square() * effect).clamp_min(0)
                rest = (residual * number / scale + usual) / (number + 1)
                # Members may differ where their sum is small, too.
                error = torch.maximum(rest * size[group].square(), residual / weight * missing[group].square())
            share = 1 / count + slope
            left[members] += share * left[group]
            size[members] += share.abs() * size[group]
            missing[members] += missing[group]
            variance[members] = share.square() * variance[group] + error
        self.phi += left
        players = self.levels.players
        self.phi[players:] = self.levels.inside[players:].double() @ self.phi[:players]
        return self.phi, variance.sqrt()
