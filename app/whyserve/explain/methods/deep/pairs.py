"""One chunk of pairs: explained rows × outputs × background rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from whyserve.explain.graph.layout import Dims
from whyserve.explain.graph.program import Program

Values = Mapping[int, Any]


class Pairs:
    """R explained rows, K outputs per row and B background rows.

    Pair (r, k, b) is row (r·K + k)·B + b of a tensor "of all pairs", whose batch is at the slot's own place. "Pairs
    apart" means a tensor with dimensions R, K and B of their own at this place, each possibly 1 to broadcast.

    row, base: values by slot, for R rows and for B background rows. stacked: both are for all R·K·B pairs instead,
    because the network's rows cannot be tracked through it; pairs are then never apart. seen: what follows from `base`
    alone, for the next pairs with the same base.
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
        seen: dict[Any, torch.Tensor],
    ) -> None:
        self.program = program
        self.rows, self.outputs, self.background = counts
        self.count = self.rows * self.outputs * self.background
        self.stacked = stacked
        self.dtype = dtype
        self._row, self._base, self._seen = row, base, seen
        self._fixed: dict[int, dict[int, Any]] = {}

    def fixed_values(self, rows: int) -> dict[int, Any]:
        """Values of slots that do not depend on the input, for a number of rows. The caller may add to the mapping."""
        if rows not in self._fixed:
            self._fixed[rows] = self.program.fixed_values(rows)
        return self._fixed[rows].copy()

    def row(self, slot: int) -> torch.Tensor:
        """A slot's value for the explained rows, pairs apart: (…, R, 1, 1, …); stacked, (…, R·K·B, …)."""
        return self._apart(slot, self._row[slot], self.rows, 1, 1)

    def base(self, slot: int) -> torch.Tensor:
        """A slot's value for the background rows: (…, 1, 1, B, …); stacked, (…, R·K·B, …)."""
        found = self._seen.get(slot)
        if found is None:
            found = self._seen[slot] = self._apart(slot, self._base[slot], 1, 1, self.background)
        return found

    def of_base(self, slot: int, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What the rule of a step makes of the base's values, made once. slot: of the step."""
        found = self._seen.get((slot,))
        if found is None:
            found = self._seen[slot,] = make()
        return found

    def kept(self, slot: int) -> tuple[list[tuple[torch.Tensor, ...]], list[tuple[torch.Tensor, ...]]]:
        """The values that a rule kept for the explained and the background rows: (T, R, 1, 1, …), (T, 1, 1, B, …)."""

        def apart(held: Sequence[tuple[torch.Tensor, ...]], *rows: int) -> list[tuple[torch.Tensor, ...]]:
            typed = [tuple(x.to(self.dtype) for x in each) for each in held]
            if self.stacked:
                return typed
            return [tuple(x.reshape(len(x), *rows, *x.shape[2:]) for x in each) for each in typed]

        return apart(self._row[slot], self.rows, 1, 1), apart(self._base[slot], 1, 1, self.background)

    def spread(self, g: torch.Tensor) -> torch.Tensor:
        """(T, rows, H) with pairs apart, (T, R, K, B, H); B is 1 if g is the same for all background rows."""
        return g if self.stacked else g.reshape(len(g), self.rows, self.outputs, -1, g.shape[-1])

    def unflatten(self, slot: int, g: torch.Tensor, rows: int) -> torch.Tensor:
        """A slot's multiplier, pairs apart: (…, R, K, B, …); B is 1 if g is the same for all background rows."""
        if self.stacked:
            return g
        return g.reshape(self.program.dims[slot].unflatten(self.rows, self.outputs, rows // (self.rows * self.outputs)))

    def flatten_pairs(self, slot: int, g: torch.Tensor) -> torch.Tensor:
        """The inverse of unflatten; the result is of all pairs."""
        if self.stacked:
            return g
        dims = self.program.dims[slot]
        return g.expand(dims.unflatten(self.rows, self.outputs, self.background)).reshape(dims.at(self.count))

    def shape(self, slot: int) -> tuple[int, ...]:
        """The shape of a slot's multiplier, pairs apart and none of them 1 to broadcast."""
        dims = self.program.dims[slot]
        return dims.at(self.count) if self.stacked else dims.unflatten(self.rows, self.outputs, self.background)

    def expand_pairs(self, slot: int, g: torch.Tensor, rows: int) -> torch.Tensor:
        """A slot's multiplier, of all pairs."""
        return g if rows == self.count else self.flatten_pairs(slot, self.unflatten(slot, g, rows))

    def expand_like(self, slot: int, g: torch.Tensor, rows: int) -> torch.Tensor:
        """A multiplier of all pairs whose batch is where the slot's is, and whose other sizes may differ."""
        if rows == self.count:
            return g
        like, sizes = self.program.dims[slot], list(g.shape)
        sizes[like.batch] = like.multiples[like.batch]
        dims = Dims(tuple(sizes), like.batch, like.before)
        parts = g.reshape(dims.unflatten(self.rows, self.outputs, rows // (self.rows * self.outputs)))
        return parts.expand(dims.unflatten(self.rows, self.outputs, self.background)).reshape(dims.at(self.count))

    def both(self, slot: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A slot's values for the explained and for the background rows, each of all pairs."""
        return self.flatten_pairs(slot, self.row(slot)), self.flatten_pairs(slot, self.base(slot))

    def constant(self, slot: int, dims: Dims) -> torch.Tensor:
        """A value that does not depend on the input, in a shape that broadcasts with a value of `dims`, pairs apart."""
        value: torch.Tensor = self.fixed_values(self.count)[slot]
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
