"""The errors that both queues raise, with their messages."""

from whyserve.errors import ExplanationLost, IdempotencyKeyReused, QueueFull, UnknownExplanation


def queue_full(waiting: int) -> QueueFull:
    return QueueFull(f"the queue is full: {waiting} explanations are not finished; try again later", retry_after_s=1)


def key_reused() -> IdempotencyKeyReused:
    return IdempotencyKeyReused("this Idempotency-Key was used with a different request; use a new key")


def unknown_explanation() -> UnknownExplanation:
    return UnknownExplanation("unknown explanation id, or its result has expired")


def explanation_lost() -> ExplanationLost:
    return ExplanationLost(
        "unknown explanation id, or the explanation was lost because the queue's file was damaged; request it again"
    )
