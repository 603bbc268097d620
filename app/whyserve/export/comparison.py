"""Compare tables of outputs row by row, and say what differs, on which row, why, and what to do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from whyserve.errors import ModelFault, ParityFault
from whyserve.export.rows import TrialRows
from whyserve.model.spec import ModelSpec

BOUND = 1e-5  # of the output's scale
# Above BOUND, the exported network may be this many times as far from the float64 run as the original itself: both
# round, in another order. MOST_ROUNDING limits it: beyond, rounding could hide a wrong operation.
TIMES_ROUNDING, MOST_ROUNDING = 8, 1e-3
# The last operation of a probability, such as a sigmoid, has an absolute error of about one rounding of 1, however
# small the probability is.
OF_PROBABILITY = float(np.finfo(np.float32).eps)

# By type of half precision: the distance between 1 and the next larger number.
ROUNDING = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
# Rounding errors add up over the layers: the bound is this number of roundings to the original's type.
ROUNDINGS = 16

FIXED_BATCH = (
    "a size of the rows of the batch has become a constant; write x.flatten(1) or x.reshape(x.shape[0], …) where the"
    " network sets a shape"
)


@dataclass(slots=True)
class Comparison:
    """Tables of outputs, (rows, columns), compared with the original's.

    exact: the output of the original in float64, if it runs in float64. It is called if a difference exceeds BOUND.
    bound: the largest one that was needed.
    """

    spec: ModelSpec
    original: np.ndarray
    rows: TrialRows
    exact: Callable[[], np.ndarray | None]
    bound: float = BOUND

    def largest(self, who: str, served: np.ndarray, batch: int = 1) -> float:
        """The largest |difference| divided by the scale of its set of rows. Raises ParityFault above the bound."""
        largest = 0.0
        for _, first, end in self.rows.sets:
            gap = self._gaps(served[first:end], self.original[first:end])
            worst = int(gap.argmax())
            if gap[worst] > BOUND and not self._is_rounding(served, first, end):
                reason = self._reason(served, first, end, batch)
                raise ParityFault(
                    f"{self.spec.name}: {self._difference(who, served, first + worst, gap[worst])}; {reason}"
                )
            largest = max(largest, float(gap[worst]))
        return largest

    def _rounding(self, first: int, end: int) -> float | None:
        """The largest distance of the original from its float64 run; None if there is no such run."""
        if (exact := self.exact()) is None:
            return None
        gap = self._gaps(self.original[first:end], exact[first:end])
        return float(gap[np.isfinite(gap)].max(initial=0.0))

    def _is_rounding(self, served: np.ndarray, first: int, end: int) -> bool:
        rounding, exact = self._rounding(first, end), self.exact()
        if rounding is None or exact is None or TIMES_ROUNDING * rounding > MOST_ROUNDING:
            return False
        finite = np.isfinite(self.original[first:end]).all(axis=1)
        if not (self._gaps(served[first:end], self.original[first:end])[~finite] == 0).all():
            return False
        allowed = max(BOUND, TIMES_ROUNDING * rounding)
        self.bound = max(self.bound, allowed)
        return bool((self._gaps(served[first:end], exact[first:end])[finite] <= allowed).all())

    def _gaps(self, served: np.ndarray, original: np.ndarray) -> np.ndarray:
        """(rows,): the largest |difference| of each row beyond rounding, divided by the scale of all rows."""
        rounding = OF_PROBABILITY if self.spec.output.scores == "probabilities" else 0.0
        served, original = served.astype(np.float64), original.astype(np.float64)
        scale = float(np.abs(original[np.isfinite(original)]).max(initial=0)) or 1.0
        # On extreme rows, a network may overflow. Then both networks must give the same infinity, or both NaN.
        both_finite = np.isfinite(served) & np.isfinite(original)
        same = (served == original) | (np.isnan(served) & np.isnan(original))
        with np.errstate(invalid="ignore"):
            gap = np.maximum(np.abs(served - original) - rounding, 0)
        return np.asarray(np.where(both_finite, gap, np.where(same, 0, np.inf)).max(axis=1) / scale)

    def _difference(self, who: str, served: np.ndarray, row: int, gap: float) -> str:
        difference = np.abs(served[row] - self.original[row])
        column = int(np.nan_to_num(difference, nan=np.inf).argmax())
        names = self.spec.output_names
        name = f'"{names[column]}"' if served.shape[1] == len(names) else str(column)
        return (
            f"{who} gives {served[row, column]:.7g} for output {name} of {self.rows.describe(row)}, but the original"
            f" gives {self.original[row, column]:.7g} (the difference is {gap:.1e} of the output's scale; at most"
            f" {BOUND:.0e} is allowed)"
        )

    def _reason(self, served: np.ndarray, first: int, end: int, batch: int) -> str:
        """The likely reason of a difference, and what to do."""
        if not (np.isfinite(served[first:end]) == np.isfinite(self.original[first:end])).all():
            return "a number inside the network is too large for its dtype; limit it, for example with torch.clamp"
        if batch > 1:
            return FIXED_BATCH
        rounding = self._rounding(first, end)
        if rounding is not None and TIMES_ROUNDING * rounding > BOUND:
            return (
                f"the network magnifies rounding: the original itself is {rounding:.1e} of the scale away from its own"
                " run in float64; package it in float64 (network.double()), scale its inputs, or replace steps such as"
                " round and floor"
            )
        return (
            "an operation of the network computes something else there, so the answers would be wrong; replace the"
            " operations before this output by others, and package again"
        )


def largest_gap(found: np.ndarray, right: np.ndarray) -> tuple[float, int, int]:
    """The largest |difference| of two tables, (rows, …), as a share of the scale of `right`; its row and its column.

    The share is infinite if a number of one table is NaN.
    """
    found, right = (np.asarray(each, np.float64).reshape(len(each), -1) for each in (found, right))
    gap = np.nan_to_num(np.abs(found - right), nan=np.inf)
    row, column = np.unravel_index(int(gap.argmax()), gap.shape)
    return float(gap[row, column]) / max(float(np.abs(right).max()), 1e-30), int(row), int(column)


def compared(original: np.ndarray, served: np.ndarray, dtype: str, rounding: float) -> dict[str, Any]:
    """[precision] of model.toml. original, served: the outputs of both networks for the background, (rows, …).

    dtype: the type of the original. rounding: the distance of that type between 1 and the next larger number.
    Raises ModelFault if the outputs differ by more than rounding explains.
    """
    bound = ROUNDINGS * rounding
    largest, row, _ = largest_gap(original, served)
    if largest > bound:
        raise ModelFault(
            f"the network in {dtype} and its copy for serving differ by {largest:.1e} of the output's scale on row"
            f" {row} of the background, more than rounding explains ({bound:.0e}); its code may depend on values or on"
            " the number of rows, or its numbers may overflow"
        )
    return {"original": dtype, "largest": largest, "bound": bound}


def as_table(spec: ModelSpec, array: np.ndarray) -> np.ndarray:
    """(rows,) or (rows, columns) → (rows, columns). Raises ModelFault if model.toml does not name each column."""
    table = array[:, None] if array.ndim == 1 else array
    if table.ndim != 2 or not spec.accepts_width(table.shape[1]):
        raise ModelFault(
            f"{spec.name}/model.toml: [output] names {spec.width} ({', '.join(spec.output_names)}),"
            f" but the network returns shape {array.shape[1:]} per row; name each output once"
        )
    return table
