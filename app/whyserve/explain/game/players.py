"""Who shares the credit: a player is a feature, or a group of elements that enter and leave together."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from whyserve.explain.game.base import Inputs


@dataclass(frozen=True, slots=True)
class Players:
    """A partition of the inputs' elements.

    count: P, the number of players.
    membership: by input name, an int64 tensor of that input's shape (no row dimension) holding the number of
        the player, 0 to P − 1, that each element belongs to. A player may span several inputs.
    """

    count: int
    membership: Mapping[str, torch.Tensor]
    # The one input, where each of its elements is a player of its own and in their order: nothing is to be summed.
    alone: str | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        name, index = next(iter(self.membership.items()), ("", torch.empty(0)))
        plain = len(self.membership) == 1 and index.ndim and torch.equal(index.flatten(), torch.arange(self.count))
        object.__setattr__(self, "alone", name if plain else None)

    @classmethod
    def elements(cls, shapes: Mapping[str, tuple[int, ...]]) -> "Players":
        """Every element of every input a player of its own, numbered in the order of inputs, row-major."""
        membership, first = {}, 0
        for name, shape in shapes.items():
            size = int(torch.Size(shape).numel())
            membership[name] = torch.arange(first, first + size).reshape(shape)
            first += size
        return cls(first, membership)

    def mix(self, present: torch.Tensor, rows: Inputs, background: Inputs) -> dict[str, torch.Tensor]:
        """Rows in which the players present come from `rows` and the others from `background`.

        present: (n, P) bool. rows, background: n rows each, or 1 row to be used for all n. In place of n there may
        be several leading dimensions, which then broadcast.
        """
        return {
            name: torch.where(present[..., self.membership[name]], rows[name], background[name])
            for name in self.membership
        }

    def collect(self, elements: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Sum attributions by element, (…, *shape) an input, into attributions by player, (…, P)."""
        if self.alone is not None:
            return elements[self.alone].flatten(start_dim=elements[self.alone].ndim - self.membership[self.alone].ndim)
        total: torch.Tensor | None = None
        for name, index in self.membership.items():
            flat = (
                elements[name].flatten(start_dim=elements[name].ndim - index.ndim)
                if index.ndim
                else elements[name].unsqueeze(-1)
            )
            part = flat.new_zeros(*flat.shape[:-1], self.count).index_add_(-1, index.reshape(-1), flat)
            total = part if total is None else total + part
        assert total is not None, "a network has at least one input"
        return total
