"""The Redis queue's transactions: each is one run of a Lua script (whyserve/queues/lua).

Methods may be called from any thread.
"""

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import redis
from redis.exceptions import RedisError

from whyserve.delivery.redis_stream import connection
from whyserve.errors import Unavailable
from whyserve.jobs import ExplainJob, JobError, JobMetrics, JobState, JobStatus, Lease, WorkerRecord
from whyserve.queue_protocols import MAX_DELIVERIES, OVERDUE_S, TIMED_OUT, WORKER_LOST
from whyserve.queues.terms import VERSION, Terms, key_reused, no_room, queue_full, too_large, unknown_explanation

LUA = Path(__file__).with_name("lua")
SCRIPT = "\n".join((LUA / f"{name}.lua").read_text(encoding="utf-8") for name in ("keys", "delivery", "api", "worker"))
# All keys and channels begin with whyserve:, so that docker/redis.acl can allow these alone.
PREFIX = f"whyserve:{VERSION}:"
# Somewhat less than the largest value that Redis accepts.
MOST_BYTES = 500 << 20


class RedisStore:
    """It connects at its first use, and again after a lost connection. The methods are those of Store."""

    calls_at_once: ClassVar[int] = 16

    def __init__(self, url: str, terms: Terms, prefix: str = PREFIX) -> None:
        """Raises ValueError if the URL is invalid."""
        self._terms, self._prefix = terms, prefix
        # Arguments of several transactions.
        self._keep = max(1, round(terms.keep_s))
        self._expiry: list[Any] = [self._keep, TIMED_OUT.model_dump_json()]
        self._leasing = [terms.lease_s, OVERDUE_S]
        self._taking = [*self._leasing, MAX_DELIVERIES, WORKER_LOST.model_dump_json(), *self._expiry]
        self._redis = redis.Redis.from_url(url, **connection())
        self._script = self._redis.register_script(SCRIPT)
        # Renewed are only the leases that take() returned. If its answer was lost, the leases end by themselves.
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def _call(self, name: str, *arguments: Any) -> Any:
        try:
            return self._script(keys=[self._prefix], args=[name, *arguments])
        except (RedisError, OSError) as error:
            # The error's message may hold Redis's address, so callers do not get it. The log has it as the cause.
            raise Unavailable("the queue cannot be reached now; try again later", retry_after_s=1) from error

    # -- the API's side ----------------------------------------------------------------------------

    def submit(self, job: ExplainJob) -> str:
        return _accepted(self._call("submit", *self._submission(job)))

    def _submission(self, job: ExplainJob) -> list[Any]:
        terms, body = self._terms, _checked(job.model_dump_json().encode())
        deadline = "+inf" if job.deadline is None or math.isinf(job.deadline) else job.deadline
        return [
            *self._expiry, "alone" if job.is_heavy else "", job.id, job.batch_key, job.digest, body, deadline,
            job.idempotency_key or "", job.request_hash or "", job.caller or "", round(1e6 * job.work), terms.depth,
            job.answer_bytes, terms.keep_bytes,
        ]  # fmt: skip

    def state(self, job_id: str) -> JobState:
        status, progress, result, error, caller, standard_error = self._call("state", job_id, *self._expiry)
        if status is None:
            raise unknown_explanation()
        why = JobError.model_validate_json(error) if error else None
        return JobState(
            job_id, JobStatus(status.decode()), float(progress), result, why, caller.decode() if caller else None,
            float(standard_error) if standard_error else None,
        )  # fmt: skip

    def job(self, job_id: str) -> ExplainJob:
        body = self._call("body", job_id)
        if body is None:
            raise unknown_explanation()
        return ExplainJob.model_validate_json(body)

    def cancel(self, job_id: str) -> None:
        self._call("cancel", job_id, self._keep)

    def depth(self) -> int:
        return int(self._call("depth", *self._expiry))

    def workers(self) -> list[WorkerRecord]:
        found = self._call("workers")
        return [WorkerRecord(owner.decode(), frozenset(each.decode() for each in digests)) for owner, digests in found]

    def job_metrics(self) -> list[JobMetrics]:
        return [JobMetrics.model_validate_json(body) for body in self._call("job_metrics")]

    # -- the worker's side ---------------------------------------------------------------------------

    def announce(self, owner: str, digests: Sequence[str]) -> None:
        self._call("announce", owner, self._terms.alive_s, " ".join(digests))

    def take(self, owner: str, digests: Sequence[str], limit: int, beside: bool = False) -> list[Lease]:
        which = "beside" if beside else ""
        while (found := self._call("take", owner, which, limit, *self._taking)) is None:
            self.announce(owner, digests)
        return [self._leased(ExplainJob.model_validate_json(body), int(fence)) for body, fence in found]

    def adopt(self, owner: str, job: ExplainJob) -> Lease:
        _accepted(self._call("adopt", owner, *self._leasing, *self._submission(job)))
        return self._leased(job, 1)

    def _leased(self, job: ExplainJob, fence: int) -> Lease:
        with self._lock:
            self._held[job.id] = fence
        return Lease(job, fence)

    def finish(
        self, owner: str, lease: Lease, result: bytes | None, error: JobError | None, metrics: JobMetrics | None = None
    ) -> bool:
        status = JobStatus.failed if error else JobStatus.done
        content = ("error", error.model_dump_json()) if error else ("result", _checked(result or b""))
        done = self._call(
            "finish", owner, lease.job.id, lease.fence, status.value, *content, self._keep,
            metrics.model_dump_json() if metrics else "", self._terms.keep_bytes,
        )  # fmt: skip
        if isinstance(done, bytes):
            _accepted((b"too_large", done))
        with self._lock:
            self._held.pop(lease.job.id, None)
        return bool(done)

    def report(self, owner: str, leases: Sequence[Lease], progress: float, error: float | None) -> list[bool]:
        held = [part for lease in leases for part in (lease.job.id, lease.fence)]
        known = "" if error is None else error
        return [bool(valid) for valid in self._call("report", owner, self._terms.lease_s, progress, known, *held)]

    def renew(self, owner: str) -> bool:
        with self._lock:
            held = [part for each in self._held.items() for part in each]
        return bool(self._call("renew", owner, self._terms.lease_s, self._terms.alive_s, *held))

    # -- the supervisor's side -------------------------------------------------------------------------

    def release(self, owner: str) -> None:
        self._call("release", owner)

    def release_all(self) -> None:
        """Does nothing: workers of other machines may run."""

    def close(self) -> None:
        self._redis.close()


def _checked(body: bytes) -> bytes:
    """The same bytes. Raises AnswerTooLarge if Redis refuses so many: it would close the connection."""
    if len(body) > MOST_BYTES:
        raise too_large(len(body), MOST_BYTES)
    return body


def _accepted(answer: tuple[bytes, bytes]) -> str:
    """The id in the answer of `submit`. Raises QueueFull, AnswerTooLarge, IdempotencyKeyReused."""
    outcome, value = answer
    if outcome == b"too_large":
        raise too_large(*map(int, value.split()))
    if outcome == b"no_room":
        raise no_room(int(value))
    if outcome == b"full":
        raise queue_full(int(value))
    if outcome == b"reused":
        raise key_reused()
    return value.decode()
