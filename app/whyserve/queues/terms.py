"""What both queues share: the version of what they hold, their settings, and the errors that they raise."""

from dataclasses import dataclass
from typing import Self

from whyserve.errors import AnswerTooLarge, IdempotencyKeyReused, QueueFull, UnknownExplanation
from whyserve.queue_protocols import ALIVE_LEASES
from whyserve.settings import Settings

# Raise it when a message (whyserve.jobs), a table or a Redis key changes. A program never reads another version's jobs:
# the version is a part of the name of the queue's file and of every Redis key.
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


def queue_full(waiting: int) -> QueueFull:
    return QueueFull(f"the queue is full: {waiting} explanations are not finished; try again later", retry_after_s=1)


def no_room(limit: int) -> QueueFull:
    return QueueFull(
        f"the queue is full: unfinished explanations and their answers need all of its {_mib(limit)}; try again later",
        retry_after_s=1,
    )


def too_large(size: int, limit: int) -> AnswerTooLarge:
    """size: bytes of the request and its answer."""
    return AnswerTooLarge(
        f"the request and its answer take about {_mib(size)}, but the queue keeps at most {_mib(limit)}; send fewer "
        'instances per request, explain fewer "outputs", or raise WHYSERVE_KEEP_RESULTS_MB'
    )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.3g} MiB"


def key_reused() -> IdempotencyKeyReused:
    return IdempotencyKeyReused("this Idempotency-Key was used with a different request; use a new key")


def unknown_explanation() -> UnknownExplanation:
    return UnknownExplanation("unknown explanation id, or its result has expired")
