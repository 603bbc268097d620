"""The errors that both queues raise, with their messages."""

from whyserve.errors import AnswerTooLarge, IdempotencyKeyReused, QueueFull, UnknownExplanation


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
