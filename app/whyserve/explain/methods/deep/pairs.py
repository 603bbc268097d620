"""One chunk of pairs: explained rows × outputs × background rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from whyserve.explain.graph.layout import Dims
from whyserve.explain.graph.program import Program

Values = Mapping[int, Any]


class Pairs:
    """R rows, K outputs a row and B background rows; pair (r, k, b) is row (r·K + k)·B + b of a tensor of pairs.

    row, base: values of slots by R rows and by B background rows; or, stacked, both by R·K·B rows, which is how a
    network whose rows cannot be followed through it is run.
    """

    def __init__(
        self,
        program: Program,
        row: Values,
        base: Values,
        counts: tuple[int, int, int],
        *,
        stacked: bool,
        dtype: torch.dtype,
    ) -> None:
        self.program = program
        self.rows, self.outputs, self.background = counts
        self.count = self.rows * self.outputs * self.background
        self.stacked = stacked
        self.dtype = dtype
        self._row, self._base = row, base
        self._around: dict[int, dict[int, Any]] = {}

    def around(self, rows: int) -> dict[int, Any]:
        """Slots that do not depend on the input, for so many rows; the caller may add to it."""
        if rows not in self._around:
            self._around[rows] = self.program.around(rows)
        return self._around[rows].copy()

    def row(self, slot: int) -> torch.Tensor:
        """The rows' value of a slot, pairs apart: (…, R, 1, 1, …); stacked, (…, R·K·B, …)."""
        return self._apart(slot, self._row[slot], self.rows, 1, 1)

    def base(self, slot: int) -> torch.Tensor:
        """The background's: (…, 1, 1, B, …)."""
        return self._apart(slot, self._base[slot], 1, 1, self.background)

    def kept(self, slot: int) -> tuple[list[tuple[torch.Tensor, ...]], list[tuple[torch.Tensor, ...]]]:
        """What a rule kept of the rows' run and of the background's: (T, R, 1, 1, …) and (T, 1, 1, B, …)."""

        def apart(held: Sequence[tuple[torch.Tensor, ...]], *rows: int) -> list[tuple[torch.Tensor, ...]]:
            typed = [tuple(x.to(self.dtype) for x in each) for each in held]
            if self.stacked:
                return typed
            return [tuple(x.reshape(len(x), *rows, *x.shape[2:]) for x in each) for each in typed]

        return apart(self._row[slot], self.rows, 1, 1), apart(self._base[slot], 1, 1, self.background)

    def spread(self, g: torch.Tensor) -> torch.Tensor:
        """(T, rows, H) with pairs apart: (T, R, K, B, H), B being 1 while it is the same for all of them."""
        return g if self.stacked else g.reshape(len(g), self.rows, self.outputs, -1, g.shape[-1])

    def unflatten(self, slot: int, g: torch.Tensor, rows: int) -> torch.Tensor:
        """A multiplier of a slot, pairs apart: (…, R, K, B, …), B being 1 while it is the same for all of them."""
        if self.stacked:
            return g
        return g.reshape(self.program.dims[slot].unflatten(self.rows, self.outputs, rows // (self.rows * self.outputs)))

    def flatten_pairs(self, slot: int, g: torch.Tensor) -> torch.Tensor:
        """The inverse of unflatten, for all pairs."""
        if self.stacked:
            return g
        dims = self.program.dims[slot]
        return g.expand(dims.unflatten(self.rows, self.outputs, self.background)).reshape(dims.at(self.count))

    def shape(self, slot: int) -> tuple[int, ...]:
        """Of a multiplier of a slot for all pairs, pairs apart."""
        dims = self.program.dims[slot]
        return dims.at(self.count) if self.stacked else dims.unflatten(self.rows, self.outputs, self.background)

    def expand_pairs(self, slot: int, g: torch.Tensor, rows: int) -> torch.Tensor:
        """A multiplier for all pairs, as it lies in a tensor."""
        return g if rows == self.count else self.flatten_pairs(slot, self.unflatten(slot, g, rows))

    def expand_like(self, slot: int, g: torch.Tensor, rows: int) -> torch.Tensor:
        """A multiplier for all pairs; its rows lie where those of `slot` do, and its other sizes may differ."""
        if rows == self.count:
            return g
        like, sizes = self.program.dims[slot], list(g.shape)
        sizes[like.batch] = like.multiples[like.batch]
        dims = Dims(tuple(sizes), like.batch, like.before)
        parts = g.reshape(dims.unflatten(self.rows, self.outputs, rows // (self.rows * self.outputs)))
        return parts.expand(dims.unflatten(self.rows, self.outputs, self.background)).reshape(dims.at(self.count))

    def both(self, slot: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows' and the background's values for all pairs, as they lie in a tensor."""
        return self.flatten_pairs(slot, self.row(slot)), self.flatten_pairs(slot, self.base(slot))

    def constant(self, slot: int, dims: Dims) -> torch.Tensor:
        """What does not depend on the input, in a shape that broadcasts with a value of `dims`, pairs apart."""
        value: torch.Tensor | None = self.program.constants.get(slot)
        rows = self.count if self.stacked else self.rows * self.outputs * self.background
        if value is None:
            value = self.around(rows)[slot]
        assert value is not None, "a step's argument has a value"
        position = len(dims.multiples) - dims.batch
        if self.stacked or value.ndim < position:
            return value
        at = value.ndim - position
        if value.shape[at] == 1:
            return value.reshape(
                *value.shape[:at], *[1] * (len(dims.unflatten(1, 1, 1)) - len(dims.multiples)), *value.shape[at:]
            )
        wide = Dims((*value.shape[:at], dims.multiples[dims.batch], *value.shape[at + 1 :]), at, dims.before)
        return value.reshape(wide.unflatten(self.rows, self.outputs, self.background))

    def _apart(self, slot: int, value: torch.Tensor, *rows: int) -> torch.Tensor:
        if value.dtype != self.dtype:
            value = value.to(self.dtype)
        return value if self.stacked else value.reshape(self.program.dims[slot].unflatten(*rows))
