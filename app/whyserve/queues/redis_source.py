"""The Redis queue, the worker's and the supervisor's side."""

import threading
from collections.abc import Sequence
from typing import Any

import redis

from whyserve.delivery.redis_stream import connection
from whyserve.jobs import ExplainJob, JobError, JobMetrics, JobStatus, Lease, WorkerRecord
from whyserve.queues.redis_script import (
    PREFIX,
    SCRIPT,
    as_unavailable,
    check_accepted,
    checked,
    submission,
    worker_records,
)
from whyserve.queues.terms import Terms


class RedisSource:
    """A JobSource."""

    def __init__(self, url: str, terms: Terms, owner: str, prefix: str = PREFIX) -> None:
        """Raises ValueError if the URL is invalid."""
        self._terms, self._owner, self._prefix = terms, owner, prefix
        self._redis = redis.Redis.from_url(url, **connection())
        self._script = self._redis.register_script(SCRIPT)
        self._digests: Sequence[str] = ()
        # Renewed are only the leases that take() returned. If its answer was lost, the leases end by themselves.
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def _call(self, name: str, *arguments: Any) -> Any:
        with as_unavailable():
            return self._script(keys=[self._prefix], args=[name, *arguments])

    def announce(self, digests: Sequence[str]) -> None:
        self._digests = digests
        self._call("announce", self._owner, self._terms.alive_s, " ".join(digests))

    def take(self, limit: int, *, beside: bool = False) -> list[Lease]:
        which = "beside" if beside else ""
        while (found := self._call("take", self._owner, which, limit, *self._terms.taking)) is None:
            self.announce(self._digests)
        return [self._leased(body, fence) for body, fence in found]

    def _leased(self, body: bytes, fence: int) -> Lease:
        lease = Lease(ExplainJob.model_validate_json(body), int(fence))
        with self._lock:
            self._held[lease.job.id] = lease.fence
        return lease

    def adopt(self, job: ExplainJob) -> Lease:
        check_accepted(self._call("adopt", self._owner, *self._terms.leasing, *submission(job, self._terms)))
        with self._lock:
            self._held[job.id] = 1
        return Lease(job, 1)

    def finish(self, lease: Lease, result: bytes, metrics: JobMetrics | None = None) -> bool:
        return self._finish(lease, JobStatus.done, "result", checked(result), metrics)

    def fail(self, lease: Lease, error: JobError) -> bool:
        return self._finish(lease, JobStatus.failed, "error", error.model_dump_json())

    def _finish(
        self, lease: Lease, status: JobStatus, field: str, value: bytes | str, metrics: JobMetrics | None = None
    ) -> bool:
        done = self._call(
            "finish", self._owner, lease.job.id, lease.fence, status.value, field, value, self._terms.keep,
            metrics.model_dump_json() if metrics else "", self._terms.keep_bytes,
        )  # fmt: skip
        if isinstance(done, bytes):
            check_accepted((b"too_large", done))
        with self._lock:
            self._held.pop(lease.job.id, None)
        return bool(done)

    def report(self, leases: Sequence[Lease], progress: float, error: float | None = None) -> list[bool]:
        arguments = [part for lease in leases for part in (lease.job.id, lease.fence)]
        known = "" if error is None else error
        return [
            bool(valid) for valid in self._call("report", self._owner, self._terms.lease_s, progress, known, *arguments)
        ]

    def renew(self) -> None:
        with self._lock:
            arguments = [part for held in self._held.items() for part in held]
        if not self._call("renew", self._owner, self._terms.lease_s, self._terms.alive_s, *arguments):
            self.announce(self._digests)

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
            return worker_records(self._script(keys=[self._prefix], args=["workers"]))

    def close(self) -> None:
        self._redis.close()
