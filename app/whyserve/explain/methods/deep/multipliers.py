"""Multipliers on the way back, collected per slot of a traced network."""

from collections.abc import Mapping
from typing import Any

import torch

from whyserve.explain.methods.deep.pairs import Pairs


class Multipliers:
    """The sum so far for each slot: one tensor, or one per result of an operation with several results."""

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs
        self._one: dict[int, tuple[torch.Tensor, int]] = {}
        self._several: dict[int, dict[int, tuple[torch.Tensor, int, int]]] = {}

    def add(self, slot: int, share: torch.Tensor | Mapping[int, torch.Tensor], rows: int, child: int) -> None:
        """Add a multiplier for `rows` rows, or a mapping from a result's number to one; `child` is its slot."""
        if isinstance(share, torch.Tensor):
            known = self._one.get(slot)
            self._one[slot] = (share, rows) if known is None else self._sum(slot, known, (share, rows))
            return
        for number, part in share.items():
            numbers = self._several.setdefault(slot, {})
            total = (part, rows)
            if number in numbers:
                total = self._sum(child, numbers[number][:2], total)
            numbers[number] = (*total, child)

    def take(self, slot: int) -> tuple[Any, int] | None:
        """Remove and return the sum for a slot, and its number of rows; None if no multiplier reached the slot."""
        if slot in self._one:
            return self._one.pop(slot)
        numbers = self._several.pop(slot, None)
        if numbers is None:
            return None
        if len({rows for _, rows, _ in numbers.values()}) == 1:
            return {number: g for number, (g, _, _) in numbers.items()}, next(iter(numbers.values()))[1]
        wide = {number: self._pairs.expand_pairs(child, g, rows) for number, (g, rows, child) in numbers.items()}
        return wide, self._pairs.count

    def _sum(
        self, slot: int, one: tuple[torch.Tensor, int], other: tuple[torch.Tensor, int]
    ) -> tuple[torch.Tensor, int]:
        if one[1] == other[1]:
            return one[0] + other[0], one[1]
        return self._pairs.expand_pairs(slot, *one) + self._pairs.expand_pairs(slot, *other), self._pairs.count
