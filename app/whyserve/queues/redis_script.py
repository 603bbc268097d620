"""What both sides of the Redis queue share: how to connect, and the script that holds its transactions."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from whyserve.errors import Unavailable
from whyserve.jobs import MAX_DELIVERIES, OVERDUE_S, TIMED_OUT, WORKER_LOST

SCRIPT = Path(__file__).with_name("queue.lua").read_text(encoding="utf-8")
# Every key and channel begins so: a Redis user of its own needs no others.
PREFIX = "whyserve:"
# The longest that anything blocks on a connection is LOOK_AGAIN_S; redis-py's own limit is none of ours.
SOCKET_S = 5.0
CONNECT_S = 1.0
ALIVE_LEASES = 2


def connection(retry: Any = Retry) -> dict[str, Any]:
    """Options of a connection. Every call may be made twice, so a connection that the server dropped is tried anew."""
    return {
        "socket_timeout": SOCKET_S,
        "socket_connect_timeout": CONNECT_S,
        "retry": retry(NoBackoff(), 1),
        "decode_responses": False,
    }


@dataclass(frozen=True, slots=True)
class Terms:
    """What is agreed on: seconds that results are kept and that a lease lasts, and how many jobs may wait."""

    depth: int
    keep_s: float
    lease_s: float

    @property
    def keep(self) -> int:
        return max(1, round(self.keep_s))

    @property
    def lease_ms(self) -> int:
        return max(1, round(1000 * self.lease_s))

    @property
    def alive_s(self) -> float:
        return ALIVE_LEASES * self.lease_s

    @property
    def expiry(self) -> list[Any]:
        return [self.keep, TIMED_OUT.model_dump_json(), OVERDUE_S]

    @property
    def taking(self) -> list[Any]:
        return [self.lease_ms, MAX_DELIVERIES, WORKER_LOST.model_dump_json(), *self.expiry]


@contextmanager
def as_unavailable() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        # Redis's words may hold its address: they are for the log, by way of the cause.
        raise Unavailable("the queue cannot be reached now; try again", retry_after_s=1) from error
