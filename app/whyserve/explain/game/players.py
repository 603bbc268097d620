"""Players: features, or groups of elements, that share the attribution."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from whyserve.errors import TooManyPlayers
from whyserve.model.hierarchy import Tree


@dataclass(frozen=True, slots=True)
class Players:
    """A partition of the elements of all inputs into players.

    count: P, the number of players.
    membership: by input name, an int64 tensor with the shape of one row of that input: the player of each element,
        0 to P − 1. A player may have elements in several inputs.
    tree: the tree over the players for a background, (B, *shape) per input; None: the players stand side by side.
    """

    count: int
    membership: Mapping[str, torch.Tensor]
    tree: Callable[[Mapping[str, np.ndarray]], Tree] | None = field(default=None, repr=False, compare=False)
    # The name of the only input, if its elements are the players in the same order: no sum is needed then.
    alone: str | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        name, index = next(iter(self.membership.items()), ("", torch.empty(0)))
        identity = len(self.membership) == 1 and index.ndim and torch.equal(index.flatten(), torch.arange(self.count))
        object.__setattr__(self, "alone", name if identity else None)

    @classmethod
    def elements(cls, shapes: Mapping[str, tuple[int, ...]]) -> "Players":
        """One player per element of every input, numbered in the order of the inputs, row-major."""
        membership, first = {}, 0
        for name, shape in shapes.items():
            size = int(torch.Size(shape).numel())
            membership[name] = torch.arange(first, first + size).reshape(shape)
            first += size
        return cls(first, membership)

    def on(self, device: torch.device) -> "Players":
        """The same players, with their membership on a device."""
        return replace(self, membership={name: index.to(device) for name, index in self.membership.items()})

    def check_limit(self, method: str, limit: int) -> None:
        """Raises TooManyPlayers if there are more players than `method` can explain."""
        if self.count > limit:
            raise TooManyPlayers(
                f"{method} takes at most {limit} players, and this model has {self.count}; choose another method",
                players=self.count,
                limit=limit,
            )

    def collect(self, elements: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Sum attributions of elements, (…, *shape) per input, into attributions of players, (…, P)."""
        if self.alone is not None:
            return elements[self.alone].flatten(start_dim=elements[self.alone].ndim - self.membership[self.alone].ndim)
        total: torch.Tensor | None = None
        for name, index in self.membership.items():
            leading = elements[name].shape[: elements[name].ndim - index.ndim]
            flat = elements[name].reshape(*leading, index.numel())
            part = flat.new_zeros(*flat.shape[:-1], self.count).index_add_(-1, index.reshape(-1), flat)
            total = part if total is None else total + part
        assert total is not None, "a network has at least one input"
        return total
