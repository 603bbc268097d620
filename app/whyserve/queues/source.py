"""The worker's side of a queue, whatever store holds the jobs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from whyserve.jobs import ExplainJob, JobError, JobMetrics, Lease
from whyserve.queues.store import Store

if TYPE_CHECKING:
    from whyserve.queues.redis_store import RedisStore


class StoreSource:
    """A JobSource."""

    def __init__(self, store: "Store | RedisStore", owner: str) -> None:
        self._store, self._owner = store, owner
        self._digests: Sequence[str] = ()

    def announce(self, digests: Sequence[str]) -> None:
        self._store.announce(self._owner, digests)
        self._digests = digests

    def take(self, limit: int, *, beside: bool = False) -> list[Lease]:
        return self._store.take(self._owner, self._digests, limit, beside)

    def adopt(self, job: ExplainJob) -> Lease:
        return self._store.adopt(self._owner, job)

    def finish(self, lease: Lease, result: bytes, metrics: JobMetrics | None = None) -> bool:
        return self._store.finish(self._owner, lease, result, None, metrics)

    def fail(self, lease: Lease, error: JobError) -> bool:
        return self._store.finish(self._owner, lease, None, error)

    def report(self, leases: Sequence[Lease], progress: float, error: float | None = None) -> list[bool]:
        return self._store.report(self._owner, leases, progress, error)

    def renew(self) -> None:
        if not self._store.renew(self._owner) and self._digests:  # the store has lost its data
            self._store.announce(self._owner, self._digests)

    def close(self) -> None:
        try:
            self._store.release(self._owner)
        finally:
            self._store.close()
