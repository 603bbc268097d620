"""Shared by the classes of the Redis queue: errors, and the Lua script of all transactions."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from whyserve.errors import Unavailable
from whyserve.jobs import ExplainJob, WorkerRecord
from whyserve.queues.refusals import key_reused, no_room, queue_full, too_large
from whyserve.queues.terms import Terms
from whyserve.queues.version import VERSION

LUA = Path(__file__).with_name("lua")
SCRIPT = "\n".join((LUA / f"{name}.lua").read_text(encoding="utf-8") for name in ("keys", "delivery", "api", "worker"))
# All keys and channels begin with whyserve:, so that docker/redis.acl can allow these alone.
PREFIX = f"whyserve:{VERSION}:"
# Prefixes of older versions; up to version 4 it held no version.
OLDER_PREFIXES = ("whyserve:", *(f"whyserve:{version}:" for version in range(5, VERSION)))
# Somewhat less than the largest value that Redis accepts.
MOST_BYTES = 500 << 20


@contextmanager
def as_unavailable() -> Iterator[None]:
    """Raise Unavailable for an error of Redis or of its connection."""
    try:
        yield
    except (RedisError, OSError) as error:
        # The error's message may hold Redis's address, so callers do not get it. The log has it as the cause.
        raise Unavailable("the queue cannot be reached now; try again later", retry_after_s=1) from error


def checked(body: bytes) -> bytes:
    """The same bytes. Raises AnswerTooLarge if Redis refuses so many: it would close the connection."""
    if len(body) > MOST_BYTES:
        raise too_large(len(body), MOST_BYTES)
    return body


def submission(job: ExplainJob, terms: Terms) -> list[Any]:
    """The arguments of the transaction `submit`."""
    body = checked(job.model_dump_json().encode())
    deadline = "+inf" if job.deadline is None or math.isinf(job.deadline) else job.deadline
    return [
        *terms.expiry, "alone" if job.is_heavy else "", job.id, job.batch_key, job.digest, body, deadline,
        job.idempotency_key or "", job.request_hash or "", job.caller or "", round(1e6 * job.work), terms.depth,
        job.answer_bytes, terms.keep_bytes,
    ]  # fmt: skip


def check_accepted(answer: tuple[bytes, bytes]) -> str:
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


def worker_records(answer: list[tuple[bytes, list[bytes]]]) -> list[WorkerRecord]:
    """The answer of `workers`."""
    return [WorkerRecord(owner.decode(), frozenset(each.decode() for each in digests)) for owner, digests in answer]
