"""Counts and durations of a model's predictions since it was loaded, over all protocols."""

import threading
import time
from dataclasses import dataclass


@dataclass(slots=True)
class Duration:
    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns


class Statistics:
    """decoded, encoded: reading and writing tensors. succeeded, failed: predictions. waited: time before a batch.

    Only `ran` and `batches` are thread-safe. All else belongs to the event loop.
    """

    def __init__(self) -> None:
        self.decoded, self.encoded = Duration(), Duration()
        self.succeeded, self.failed, self.waited = Duration(), Duration(), Duration()
        self.rows, self.last_s = 0, 0.0
        self._batches: dict[int, Duration] = {}
        # One batch may run on the event loop while another one runs in a thread.
        self._lock = threading.Lock()

    def answered(self, rows: int, ns: int) -> None:
        self.succeeded.count += 1
        self.succeeded.ns += ns
        self.rows += rows
        self.last_s = time.time()

    def ran(self, rows: int, ns: int) -> None:
        """Count one run of ONNX Runtime."""
        with self._lock:
            batch = self._batches.get(rows)
            if batch is None:
                batch = self._batches[rows] = Duration()
            batch.count += 1
            batch.ns += ns

    def batches(self) -> dict[int, Duration]:
        """A copy, by rows per batch."""
        with self._lock:
            return {rows: Duration(each.count, each.ns) for rows, each in sorted(self._batches.items())}
