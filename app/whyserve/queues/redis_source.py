"""The Redis queue, the worker's and the supervisor's side."""

import contextlib
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.exceptions import RedisError

from whyserve.jobs import HEAVY_KEY, ExplainJob, JobError, JobMetrics, JobStatus, Lease, WorkerRecord
from whyserve.queues.redis_script import (
    PREFIX,
    SCRIPT,
    as_unavailable,
    check_accepted,
    checked,
    connection,
    submission,
)
from whyserve.queues.terms import Terms
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
        self._news, self._bell = socket.socketpair()
        self._news.setblocking(False)
        # The id of the last wake-up before the last look.
        self._seen: bytes | str = "$"
        self._looked, self._closed = threading.Event(), threading.Event()
        self._listener: threading.Thread | None = None

    def _call(self, name: str, *arguments: Any) -> Any:
        with as_unavailable():
            return self._script(keys=[self._prefix], args=[name, *arguments])

    def announce(self, digests: Sequence[str]) -> None:
        self._call("announce", self._owner, " ".join(digests), self._terms.alive_s)
        self._digests = " ".join(digests)

    def take(self, limit: int, timeout_s: float, *, beside: bool = False) -> list[Lease]:
        deadline = time.monotonic() + timeout_s
        excluded = HEAVY_KEY if beside else ""
        with contextlib.suppress(BlockingIOError):  # before the look, so that no wake-up after the look is lost
            self._news.recv(4096)
        while True:
            self._seen, found = self._call("take", self._owner, self._digests, excluded, limit, *self._terms.taking)
            self._looked.set()
            if found:
                return [self._leased(body, fence) for body, fence in found]
            left = deadline - time.monotonic()
            if left <= 0:
                return []
            with as_unavailable():
                block = max(1, round(1000 * min(left, LOOK_AGAIN_S)))
                self._redis.xread({f"{self._prefix}wakeup": self._seen}, block=block)

    def fileno(self) -> int:
        if self._listener is None:
            self._listener = threading.Thread(target=self._listen, name="wake-ups", daemon=True)
            self._listener.start()
        return self._news.fileno()

    def _listen(self) -> None:
        """Ring once for the wake-ups since the last look. If one is missed, the worker looks again by itself."""
        while not self._closed.is_set():
            self._looked.wait()
            try:
                news = self._redis.xread({f"{self._prefix}wakeup": self._seen}, block=round(1000 * LOOK_AGAIN_S))
            except (RedisError, OSError):
                self._closed.wait(LOOK_AGAIN_S)
                continue
            if news:
                self._looked.clear()
                self._bell.send(b"!")

    def _leased(self, body: bytes, fence: int) -> Lease:
        lease = Lease(ExplainJob.model_validate_json(body), int(fence))
        with self._lock:
            self._held[lease.job.id] = lease.fence
        return lease

    def adopt(self, job: ExplainJob) -> Lease:
        check_accepted(self._call("adopt", self._owner, *submission(job, self._terms)))
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
            self._closed.set()
            self._looked.set()
            if self._listener:
                self._listener.join()
            self._redis.close()
            self._news.close()
            self._bell.close()


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
