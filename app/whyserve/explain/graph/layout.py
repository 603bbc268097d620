"""Where the rows are in a tensor: not always first, and sometimes merged with time or attention heads."""

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
        """The shape for a number of rows."""
        m, b = self.multiples, self.batch
        return (*m[:b], m[b] * rows, *m[b + 1 :])

    def unflatten(self, *rows: int) -> tuple[int, ...]:
        """The shape with the rows as separate dimensions, between those that they were merged with."""
        m, b = self.multiples, self.batch
        if m[b] == 1:
            return (*m[:b], *rows, *m[b + 1 :])
        return (*m[:b], self.before, *rows, m[b] // self.before, *m[b + 1 :])

    @property
    def outer(self) -> int:
        """The number of elements before the rows, which a view does not change."""
        return prod(self.multiples[: self.batch]) * self.before

    def viewed_from(self, source: "Dims") -> "Dims | None":
        """These dims as a view of `source`, with `before` set; None if the view does not keep the rows together."""
        before, rest = divmod(source.outer, prod(self.multiples[: self.batch]))
        if rest or self.multiples[self.batch] % max(1, before) or not before:
            return None
        return replace(self, before=before)


def dims_of(shape: tuple[Any, ...], where: str) -> Dims:
    """Read a traced shape. Raises UnsupportedNetwork unless exactly one size is a multiple of the number of rows."""
    multiples, batch = [], None
    for position, size in enumerate(shape):
        multiple, symbolic = multiple_of(size, where)
        if symbolic and batch is not None:
            raise UnsupportedNetwork(f"{where} mixes rows of the batch: two sizes of its result grow with the batch")
        batch = position if symbolic else batch
        multiples.append(multiple)
    if batch is None:
        raise UnsupportedNetwork(f"{where} mixes rows of the batch: its result, {list(shape)}, has no batch dimension")
    return Dims(tuple(multiples), batch)


def multiple_of(size: Any, where: str) -> tuple[int, bool]:
    """A size as a multiple, and whether it is a multiple of the number of rows.

    Raises UnsupportedNetwork for a size that is neither constant nor such a multiple.
    """
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
        raise UnsupportedNetwork(f"{where} mixes rows of the batch: its result has a size of {expression}")
    raise UnsupportedNetwork(f"{where} returns a tensor whose size is not a number")
