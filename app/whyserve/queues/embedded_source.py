"""The embedded queue, the worker's side: SQLite holds the jobs, and a Unix socket wakes the worker for a new one."""

import time
from collections.abc import Sequence
from pathlib import Path

from whyserve.jobs import ExplainJob, JobError, JobMetrics, Lease
from whyserve.queues.store import Store, as_unavailable
from whyserve.queues.waiters import LOOK_AGAIN_S
from whyserve.queues.wakeup import WORKER, Wakeup


class EmbeddedSource:
    """A JobSource."""

    def __init__(self, state: Path, store: Store, owner: str) -> None:
        self._store, self._owner = store, owner
        self._wakeup = Wakeup(state, WORKER, owner)
        self._digests: Sequence[str] = ()

    @as_unavailable()
    def announce(self, digests: Sequence[str]) -> None:
        self._store.announce(self._owner, digests)
        self._digests = digests

    @as_unavailable()
    def take(self, limit: int, timeout_s: float, *, beside: bool = False) -> list[Lease]:
        deadline = time.monotonic() + timeout_s
        self._wakeup.drain()  # before the look, so that no wake-up after the look is lost
        while not (leases := self._store.take(self._owner, self._digests, limit, beside)):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._wakeup.wait(min(left, LOOK_AGAIN_S))
        return leases

    @as_unavailable()
    def adopt(self, job: ExplainJob) -> Lease:
        return self._store.adopt(self._owner, job)

    def finish(self, lease: Lease, result: bytes, metrics: JobMetrics | None = None) -> bool:
        return self._finish(lease, result, None, metrics)

    def fail(self, lease: Lease, error: JobError) -> bool:
        return self._finish(lease, None, error)

    def _finish(
        self, lease: Lease, result: bytes | None, error: JobError | None, metrics: JobMetrics | None = None
    ) -> bool:
        with as_unavailable():
            recorded = self._store.finish(self._owner, lease, result, error, metrics)
        self._wakeup.ring(lease.job.id)
        return recorded

    def report(self, leases: Sequence[Lease], progress: float, error: float | None = None) -> list[bool]:
        with as_unavailable():
            return self._store.report(self._owner, leases, progress, error)

    def fileno(self) -> int:
        return self._wakeup.fileno()

    def renew(self) -> None:
        with as_unavailable():
            self._store.renew(self._owner)

    def close(self) -> None:
        self._wakeup.close()
        try:
            with as_unavailable():
                self._store.release(self._owner)
        finally:
            self._store.close()
