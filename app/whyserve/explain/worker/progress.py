"""The progress of a computation: reported to the source of its jobs, which answers whether they are still wanted."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from whyserve.errors import Unavailable
from whyserve.jobs import Lease

REPORT_EVERY_S = 0.1


class Reporter(Protocol):
    """A JobSource or a DirectSource."""

    def report(self, leases: Sequence[Lease], progress: float, error: float | None = None) -> list[bool]: ...


class JobProgress:
    """Limits.on_progress and Limits.on_error of the jobs that are computed together."""

    def __init__(self, source: Reporter, leases: Sequence[Lease], alive: Callable[[], None]) -> None:
        """alive: called after each report that the source has answered."""
        self._source, self._leases, self._alive = source, leases, alive
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
            wanted = any(self._source.report(self._leases, share, self._error))
        except Unavailable:
            return True  # the queue decides when the result is recorded
        self._alive()
        return wanted
