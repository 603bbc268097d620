"""Where the rows are in a tensor: not always first, and at times merged with time or heads."""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch

from whyserve.errors import UnsupportedNetwork


@dataclass(frozen=True, slots=True)
class Dims:
    """A shape for any number of rows: dimension i is multiples[i], times the rows where i == batch.

    before: in a batch dimension of multiple m, rows are merged as (before, rows, m / before).
    """

    multiples: tuple[int, ...]
    batch: int
    before: int = 1

    def at(self, rows: int) -> tuple[int, ...]:
        """The shape for so many rows."""
        m, b = self.multiples, self.batch
        return (*m[:b], m[b] * rows, *m[b + 1 :])

    def unflatten(self, *rows: int) -> tuple[int, ...]:
        """The shape with the rows in dimensions of their own, and what they were merged with around them."""
        m, b = self.multiples, self.batch
        if m[b] == 1:
            return (*m[:b], *rows, *m[b + 1 :])
        return (*m[:b], self.before, *rows, m[b] // self.before, *m[b + 1 :])

    @property
    def outer(self) -> int:
        """Elements that come before the rows: what a view does not change."""
        return prod(self.multiples[: self.batch]) * self.before

    def viewed_from(self, source: "Dims") -> "Dims | None":
        """These dims with `before` as a view of `source` makes it; None when the rows are not where they were."""
        before, rest = divmod(source.outer, prod(self.multiples[: self.batch]))
        if rest or self.multiples[self.batch] % max(1, before) or not before:
            return None
        return replace(self, before=before)


def dims_of(shape: tuple[Any, ...], where: str) -> Dims:
    """Read a traced shape. Raises UnsupportedNetwork when one size, and no more, is not a multiple of the rows."""
    multiples, batch = [], None
    for position, size in enumerate(shape):
        multiple, symbolic = multiple_of(size, where)
        if symbolic and batch is not None:
            raise UnsupportedNetwork(f"{where} mixes rows of the batch: two sizes of its result depend on their number")
        batch = position if symbolic else batch
        multiples.append(multiple)
    if batch is None:
        raise UnsupportedNetwork(f"{where} mixes rows of the batch: its result, {list(shape)}, has no rows")
    return Dims(tuple(multiples), batch)


def multiple_of(size: Any, where: str) -> tuple[int, bool]:
    """A size as a multiple, and whether it multiplies the rows."""
    if isinstance(size, int):
        return size, False
    if isinstance(size, torch.SymInt):
        expression = size.node.expr
        symbols = list(expression.free_symbols)
        if not symbols:
            return int(expression), False
        multiple = expression / symbols[0]
        if len(symbols) == 1 and not multiple.free_symbols and multiple.is_integer:
            return int(multiple), True
        raise UnsupportedNetwork(f"{where} mixes rows of the batch: a size of its result is {expression}")
    raise UnsupportedNetwork(f"{where} has a size that is not a number")
