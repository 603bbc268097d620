"""How long a model takes for so many rows: measured once, when it is loaded, and not configured."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec

MEASURED_ROWS = 16
MEASURE_S = 0.1  # what measuring one batch size may take; a model slower than that is run once
MOST_RUNS = 20


@dataclass(frozen=True, slots=True)
class Latency:
    """seconds(rows) = fixed_s + rows × row_s."""

    fixed_s: float
    row_s: float

    def seconds(self, rows: int) -> float:
        return self.fixed_s + rows * self.row_s

    def rows_within(self, seconds: float) -> int:
        """The most rows that take no longer than this; at least one."""
        if self.row_s <= 0:
            return 1 << 20
        return max(1, int((seconds - self.fixed_s) / self.row_s))


def measure(run: Callable[[Arrays], object], spec: ModelSpec) -> Latency:
    """Time one row and several, of zeros: no network here takes longer for other numbers."""
    one, several = (_fastest(run, _zeros(spec, rows)) for rows in (1, MEASURED_ROWS))
    row_s = max(0.0, (several - one) / (MEASURED_ROWS - 1))
    return Latency(max(0.0, one - row_s), row_s)


def _zeros(spec: ModelSpec, rows: int) -> Arrays:
    return {item.name: np.zeros((rows, *item.row_shape), dtype=item.dtype) for item in spec.inputs}


def _fastest(run: Callable[[Arrays], object], arrays: Arrays) -> float:
    # The fastest run is the model's own time; whatever is slower had something else beside it.
    run(arrays)
    times: list[float] = []
    end = time.perf_counter() + MEASURE_S
    while not times or (len(times) < MOST_RUNS and time.perf_counter() < end):
        began = time.perf_counter()
        run(arrays)
        times.append(time.perf_counter() - began)
    return min(times)
