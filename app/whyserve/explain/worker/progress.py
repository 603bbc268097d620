"""The progress of a computation: reported to the queue, which answers whether the jobs are still wanted."""

import time
from collections.abc import Sequence

from whyserve.errors import Unavailable
from whyserve.jobs import Lease
from whyserve.queue_protocols import JobSource

REPORT_EVERY_S = 0.1


class JobProgress:
    """Limits.on_progress and Limits.on_error of the jobs that are computed together."""

    def __init__(self, source: JobSource, leases: Sequence[Lease]) -> None:
        self._source, self._leases = source, leases
        self._next = time.monotonic() + REPORT_EVERY_S
        self._error: float | None = None

    def on_error(self, error: float) -> None:
        """Keep a relative standard error for the next report."""
        self._error = error

    def on_progress(self, share: float) -> bool:
        """Report the finished share, at most every REPORT_EVERY_S. Return whether any of the jobs is still wanted."""
        now = time.monotonic()
        if now < self._next:
            return True
        self._next = now + REPORT_EVERY_S
        try:
            return any(self._source.report(self._leases, share, self._error))
        except Unavailable:
            return True  # the queue decides when the result is recorded
