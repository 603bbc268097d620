"""Shared by the classes of the Redis queue: terms, and the Lua script of all transactions."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from whyserve.errors import Unavailable
from whyserve.jobs import SUMMARY_KEY, ExplainJob, WorkerRecord
from whyserve.queue_protocols import ALIVE_LEASES, MAX_DELIVERIES, OVERDUE_S, TIMED_OUT, WORKER_LOST
from whyserve.queues.refusals import key_reused, queue_full
from whyserve.queues.version import VERSION

LUA = Path(__file__).with_name("lua")
SCRIPT = "\n".join((LUA / f"{name}.lua").read_text(encoding="utf-8") for name in ("keys", "delivery", "api", "worker"))
# All keys and channels begin with whyserve:, so that docker/redis.acl can allow these alone.
PREFIX = f"whyserve:{VERSION}:"
# Prefixes of older versions; up to version 4 it held no version.
OLDER_PREFIXES = ("whyserve:", *(f"whyserve:{version}:" for version in range(5, VERSION)))


@dataclass(frozen=True, slots=True)
class Terms:
    """depth: jobs that may be open. keep_s: seconds that a final job is kept. lease_s: seconds that a lease lasts."""

    depth: int
    keep_s: float
    lease_s: float

    @property
    def keep(self) -> int:
        return max(1, round(self.keep_s))

    @property
    def alive_s(self) -> float:
        return ALIVE_LEASES * self.lease_s

    @property
    def expiry(self) -> list[Any]:
        return [self.keep, TIMED_OUT.model_dump_json()]

    @property
    def leasing(self) -> list[Any]:
        return [self.lease_s, OVERDUE_S]

    @property
    def taking(self) -> list[Any]:
        return [*self.leasing, MAX_DELIVERIES, WORKER_LOST.model_dump_json(), *self.expiry]


@contextmanager
def as_unavailable() -> Iterator[None]:
    """Raise Unavailable for an error of Redis or of its connection."""
    try:
        yield
    except (RedisError, OSError) as error:
        # The error's message may hold Redis's address, so callers do not get it. The log has it as the cause.
        raise Unavailable("the queue cannot be reached now; try again later", retry_after_s=1) from error


def submission(job: ExplainJob, terms: Terms) -> list[Any]:
    """The arguments of the transaction `submit`."""
    deadline = "+inf" if job.deadline is None or math.isinf(job.deadline) else job.deadline
    group = job.digest + (SUMMARY_KEY if job.summary else "")
    return [
        *terms.expiry, job.id, job.batch_key, group, job.model_dump_json(), deadline, job.idempotency_key or "",
        job.request_hash or "", job.caller or "", terms.depth,
    ]  # fmt: skip


def check_accepted(answer: tuple[bytes, bytes]) -> str:
    """The id in the answer of `submit`. Raises QueueFull, IdempotencyKeyReused."""
    outcome, value = answer
    if outcome == b"full":
        raise queue_full(int(value))
    if outcome == b"reused":
        raise key_reused()
    return value.decode()


def worker_records(answer: list[tuple[bytes, list[bytes]]]) -> list[WorkerRecord]:
    """The answer of `workers`."""
    return [WorkerRecord(owner.decode(), frozenset(each.decode() for each in digests)) for owner, digests in answer]
