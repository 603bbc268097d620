"""How often and for how long a model has answered since it was loaded, whatever protocol it was asked in."""

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
    """decoded, encoded: requests and answers made of tensors. succeeded, failed, waited: from the event loop only."""

    def __init__(self) -> None:
        self.decoded, self.encoded = Duration(), Duration()
        self.succeeded, self.failed, self.waited = Duration(), Duration(), Duration()
        self.rows, self.last_s = 0, 0.0
        self._batches: dict[int, Duration] = {}
        # A batch may run beside the event loop while another runs on it.
        self._lock = threading.Lock()

    def answered(self, rows: int, ns: int) -> None:
        self.succeeded.add(ns)
        self.rows += rows
        self.last_s = time.time()

    def ran(self, rows: int, ns: int) -> None:
        """ONNX Runtime was given so many rows at once."""
        with self._lock:
            batch = self._batches.get(rows)
            if batch is None:
                batch = self._batches[rows] = Duration()
            batch.add(ns)

    def batches(self) -> dict[int, Duration]:
        """By the number of their rows."""
        with self._lock:
            return {rows: Duration(each.count, each.ns) for rows, each in sorted(self._batches.items())}
