"""The Redis queue, the worker's and the supervisor's side."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import redis

from whyserve.jobs import SUMMARY_KEY, ExplainJob, JobError, JobMetrics, JobStatus, Lease, WorkerRecord
from whyserve.queues.redis_script import PREFIX, SCRIPT, Terms, as_unavailable, connection
from whyserve.queues.waiters import LOOK_AGAIN_S


class RedisSource:
    """A JobSource."""

    def __init__(self, url: str, terms: Terms, owner: str, prefix: str = PREFIX) -> None:
        """Raises ValueError if the URL is invalid."""
        self._terms, self._owner, self._prefix = terms, owner, prefix
        self._redis = redis.Redis.from_url(url, **connection())
        self._script = self._redis.register_script(SCRIPT)
        self._digests = ""
        # Renewed are only the leases that take() returned. If its answer was lost, the leases end by themselves.
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def _call(self, name: str, *arguments: Any) -> Any:
        with as_unavailable():
            return self._script(keys=[self._prefix], args=[name, *arguments])

    def announce(self, digests: Sequence[str]) -> None:
        self._call("announce", self._owner, " ".join(digests), self._terms.alive_s)
        self._digests = " ".join(digests)

    def take(self, limit: int, timeout_s: float, *, summaries: bool = True) -> list[Lease]:
        deadline = time.monotonic() + timeout_s
        excluded = "" if summaries else SUMMARY_KEY
        while True:
            seen, found = self._call("take", self._owner, self._digests, excluded, limit, *self._terms.taking)
            if found:
                return [self._leased(body, fence) for body, fence in found]
            left = deadline - time.monotonic()
            if left <= 0:
                return []
            with as_unavailable():
                block = max(1, round(1000 * min(left, LOOK_AGAIN_S)))
                self._redis.xread({f"{self._prefix}wakeup": seen}, block=block)

    def _leased(self, body: bytes, fence: int) -> Lease:
        lease = Lease(ExplainJob.model_validate_json(body), int(fence))
        with self._lock:
            self._held[lease.job.id] = lease.fence
        return lease

    def finish(self, lease: Lease, result: bytes, metrics: JobMetrics | None = None) -> bool:
        return self._finish(lease, JobStatus.done, "result", result, metrics)

    def fail(self, lease: Lease, error: JobError) -> bool:
        return self._finish(lease, JobStatus.failed, "error", error.model_dump_json())

    def _finish(
        self, lease: Lease, status: JobStatus, field: str, value: bytes | str, metrics: JobMetrics | None = None
    ) -> bool:
        done = self._call(
            "finish", self._owner, lease.job.id, lease.fence, status.value, field, value, self._terms.keep,
            metrics.model_dump_json() if metrics else "",
        )  # fmt: skip
        with self._lock:
            self._held.pop(lease.job.id, None)
        return bool(done)

    def report(self, leases: Sequence[Lease], progress: float, error: float | None = None) -> list[bool]:
        arguments = [part for lease in leases for part in (lease.job.id, lease.fence)]
        return [
            bool(valid)
            for valid in self._call("report", self._owner, progress, "" if error is None else error, *arguments)
        ]

    def renew(self) -> None:
        with self._lock:
            arguments = [part for held in self._held.items() for part in held]
        self._call("renew", self._owner, self._terms.alive_s, *arguments)

    def close(self) -> None:
        try:
            self._call("release", self._owner)
        finally:
            self._redis.close()


class RedisAdmin:
    """A QueueAdmin for the worker of one machine. Other machines may have workers on the same Redis."""

    def __init__(self, url: str, prefix: str = PREFIX) -> None:
        """Raises ValueError if the URL is invalid."""
        self._prefix = prefix
        self._redis = redis.Redis.from_url(url, **connection())
        self._script = self._redis.register_script(SCRIPT)

    def release(self, owner: str) -> None:
        with as_unavailable():
            self._script(keys=[self._prefix], args=["release", owner])

    def release_all(self) -> None:
        """Does nothing: workers of other machines may run."""

    def workers(self) -> list[WorkerRecord]:
        with as_unavailable():
            found = iter(self._script(keys=[self._prefix], args=["workers"]))
        return [
            WorkerRecord(owner.decode(), frozenset(digests.decode().split()))
            for owner, digests in zip(found, found, strict=True)
        ]

    def close(self) -> None:
        self._redis.close()
