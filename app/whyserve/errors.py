"""Every failure a person can cause or must act on, as one tree. It knows no HTTP.

`code` is stable and meant for programs, the message is meant for people and says what is wrong, where,
and what to do. `details` holds the same facts as data; it never holds the caller's own values.
"""

from typing import Any, ClassVar


class WhyserveError(Exception):
    """The root: catch it at the edge of a process."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


# -- what a caller sent ------------------------------------------------------------------------------


class InvalidInput(WhyserveError):
    """The request is understood and its content is not acceptable."""

    code = "invalid_input"


class MalformedBody(InvalidInput):
    """The body is not JSON, or not the JSON of a request."""

    code = "malformed_body"


class TooManyInstances(InvalidInput):
    """More instances than one request may hold."""

    code = "too_many_instances"


class TooLarge(InvalidInput):
    """The body is larger than the body of a request may be."""

    code = "body_too_large"


class DuplicateKey(InvalidInput):
    """A key stands twice in one object of the body, and readers differ in which they take."""

    code = "duplicate_key"


class NotAcceptable(WhyserveError):
    """The caller accepts no form that the answer can have."""

    code = "not_acceptable"


class UnsupportedMediaType(WhyserveError):
    """The body is of a kind, or compressed in a way, that is not read here."""

    code = "unsupported_media_type"


class Unauthorized(WhyserveError):
    """The request has no key, or one that is not known here."""

    code = "unauthorized"


class Forbidden(WhyserveError):
    """The request's key does not have the scope that is needed."""

    code = "forbidden"


class UnsupportedMethod(InvalidInput):
    """The explanation method does not exist, or does not fit this model."""

    code = "unsupported_method"


class TooManyPlayers(UnsupportedMethod):
    """More players than enumeration can take."""

    code = "too_many_players"


class UnknownModel(WhyserveError):
    """No model of this name, or not in this version."""

    code = "unknown_model"


class UnknownLabel(InvalidInput):
    """An output was asked for that the model does not have."""

    code = "unknown_label"


class UnknownExplanation(WhyserveError):
    """No explanation has this id, or its result is no longer kept."""

    code = "unknown_explanation"


# -- what an operator wrote or must mend ------------------------------------------------------------------


class ConfigurationError(WhyserveError):
    """A setting is wrong."""

    code = "configuration"


class ModelFault(WhyserveError):
    """A model folder or artifact is at fault; the message names the file."""

    code = "model_fault"


class DigestMismatch(ModelFault):
    """A file is not the one that its manifest describes."""

    code = "digest_mismatch"


class LoadRefused(InvalidInput):
    """A model cannot be loaded or unloaded; what was served before still is."""

    code = "load_refused"


class ParityFault(ModelFault):
    """The exported network does not answer as the original does."""

    code = "parity_fault"


class UnsupportedNetwork(ModelFault):
    """The network does something that cannot be explained truly; the message names it."""

    code = "unsupported_network"


# -- what may pass --------------------------------------------------------------------------------------


class Unavailable(WhyserveError):
    """Not now; the same request may succeed later."""

    code = "unavailable"


class Busy(Unavailable):
    """As many requests are under way as may be."""

    code = "busy"


class RateLimited(WhyserveError):
    """The caller asks more than its key may."""

    code = "rate_limited"


class QueueFull(Unavailable):
    """As many explanations are waiting as may wait."""

    code = "queue_full"


class IdempotencyKeyReused(InvalidInput):
    """An Idempotency-Key came with another request before."""

    code = "idempotency_key_reused"


class StillComputing(Unavailable):
    """The explanation is still being computed; the message says where it will be."""

    code = "still_computing"


class WorkerLost(WhyserveError):
    """Computing this explanation ended its worker, every time it was tried."""

    code = "worker_lost"


class ExplanationFailed(WhyserveError):
    """The worker could not compute this explanation; the message says why."""

    code = "explanation_failed"


class ExplanationCancelled(WhyserveError):
    """Its caller cancelled the explanation while somebody waited for it."""

    code = "explanation_cancelled"


class ExplanationTimeout(WhyserveError):
    """The explanation did not finish before its deadline."""

    code = "explanation_timeout"


def first_line(error: BaseException) -> str:
    """An exception in one line, with its type."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
