"""A model's prediction time by number of rows. It is measured when the model is loaded, and never configured."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec

MEASURED_ROWS = 16
MEASURE_S = 0.1  # time limit for one batch size; a slower model runs once
MAX_RUNS = 20


@dataclass(frozen=True, slots=True)
class Latency:
    """seconds(rows) = fixed_s + rows × row_s."""

    fixed_s: float
    row_s: float

    def seconds(self, rows: int) -> float:
        return self.fixed_s + rows * self.row_s

    def rows_within(self, seconds: float) -> int:
        """The largest number of rows that takes at most this long; at least 1."""
        if self.row_s <= 0:
            return 1 << 20
        return max(1, int((seconds - self.fixed_s) / self.row_s))


def measure(run: Callable[[Arrays], object], spec: ModelSpec) -> Latency:
    """Time one row and several rows of zeros. The values do not matter for the time of these networks."""
    one, several = (
        _fastest(run, {item.name: np.zeros((rows, *item.row_shape), dtype=item.dtype) for item in spec.inputs})
        for rows in (1, MEASURED_ROWS)
    )
    row_s = max(0.0, (several - one) / (MEASURED_ROWS - 1))
    return Latency(max(0.0, one - row_s), row_s)


def _fastest(run: Callable[[Arrays], object], arrays: Arrays) -> float:
    # The fastest run is closest to the model's own time. Slower runs shared the processor with other work.
    run(arrays)
    times: list[float] = []
    end = time.perf_counter() + MEASURE_S
    while not times or (len(times) < MAX_RUNS and time.perf_counter() < end):
        began = time.perf_counter()
        run(arrays)
        times.append(time.perf_counter() - began)
    return min(times)
