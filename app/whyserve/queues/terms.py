"""What both queues share: the version of what they hold, and their settings."""

from dataclasses import dataclass
from typing import Any, Self

from whyserve.queue_protocols import ALIVE_LEASES, MAX_DELIVERIES, OVERDUE_S, TIMED_OUT, WORKER_LOST
from whyserve.settings import Settings

# Raise it when a message (whyserve.jobs), a table or a Redis key changes. A program never reads another version's jobs:
# a queue file of another version is set aside, and the version is part of every Redis key.
VERSION = 9


@dataclass(frozen=True, slots=True)
class Terms:
    """depth: jobs that may be open. keep_s: seconds that a final job is kept. lease_s: seconds that a lease lasts.
    keep_bytes: the largest size of all requests and results together.
    """

    depth: int
    keep_s: float
    lease_s: float
    keep_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.queue_depth, settings.keep_results_s, settings.lease_s, settings.keep_results_mb << 20)

    @property
    def alive_s(self) -> float:
        return ALIVE_LEASES * self.lease_s

    # -- as arguments of the Redis queue's transactions ------------------------------------------------

    @property
    def keep(self) -> int:
        return max(1, round(self.keep_s))

    @property
    def expiry(self) -> list[Any]:
        return [self.keep, TIMED_OUT.model_dump_json()]

    @property
    def leasing(self) -> list[Any]:
        return [self.lease_s, OVERDUE_S]

    @property
    def taking(self) -> list[Any]:
        return [*self.leasing, MAX_DELIVERIES, WORKER_LOST.model_dump_json(), *self.expiry]
