"""The progress of a computation between its chunks: it gives way to others, and reports to the source of its jobs."""

import time
from collections.abc import Callable, Sequence

from whyserve.errors import Unavailable
from whyserve.jobs import Lease

REPORT_EVERY_S = 0.1
# The shortest time between two offers to give way.
OFFER_EVERY_S = 0.02

Report = Callable[[Sequence[Lease], float, float | None], list[bool]]
"""JobSource.report"""
GiveWay = Callable[[float, float], None]
"""Receives the seconds of a computation since its last offer, and all its seconds. It may compute other jobs."""


class JobProgress:
    """Limits.on_progress and Limits.on_error of the jobs that are computed together.

    seconds: the time that they took, without the time in which they gave way.
    """

    def __init__(
        self, report: Report, leases: Sequence[Lease], alive: Callable[[], None], give_way: GiveWay | None = None
    ) -> None:
        """alive: called after each report that was received. give_way: None for no offers."""
        self._report, self._leases, self._alive, self._give_way = report, leases, alive, give_way
        self._since = time.monotonic()
        self._next_report = self._since + REPORT_EVERY_S
        self._error: float | None = None
        self.seconds = 0.0

    def stop_clock(self) -> float:
        """The seconds since the last call of give_way, or since the beginning."""
        passed = time.monotonic() - self._since
        self.seconds += passed
        return passed

    def on_error(self, error: float) -> None:
        """Keep a relative standard error for the next report."""
        self._error = error

    def on_progress(self, share: float) -> bool:
        """Give way and report the finished share, if it is time. Return whether any of the jobs is still wanted."""
        if self._give_way is not None and time.monotonic() - self._since >= OFFER_EVERY_S:
            self._give_way(self.stop_clock(), self.seconds)
            self._since = time.monotonic()
        now = time.monotonic()
        if now < self._next_report:
            return True
        self._next_report = now + REPORT_EVERY_S
        try:
            wanted = any(self._report(self._leases, share, self._error))
        except Unavailable:
            return True  # the queue decides when the result is recorded
        self._alive()
        return wanted
