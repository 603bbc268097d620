"""All errors that a caller or operator can cause or must act on, as one class tree without HTTP.

`code` is stable and meant for programs. The message is meant for people: what is wrong, where, and what to do.
`details` holds the same facts as data, and never values that the caller sent.
"""

from typing import Any, ClassVar


class WhyserveError(Exception):
    """The base class; to be caught where a request or a process ends."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


# -- errors of a request -------------------------------------------------------------------------


class InvalidInput(WhyserveError):
    """The request is well-formed, but its content is invalid."""

    code = "invalid_input"


class MalformedBody(InvalidInput):
    """The body is not JSON, or not an object of the expected form."""

    code = "malformed_body"


class TooManyInstances(InvalidInput):
    """The request has more instances than allowed."""

    code = "too_many_instances"


class TooLarge(InvalidInput):
    """The body is larger than allowed."""

    code = "body_too_large"


class DuplicateKey(InvalidInput):
    """An object of the body has the same key twice; JSON parsers differ in which value they use."""

    code = "duplicate_key"


class NotAcceptable(WhyserveError):
    """The Accept header allows none of the available media types."""

    code = "not_acceptable"


class UnsupportedMediaType(WhyserveError):
    """The body's media type or content encoding is not supported."""

    code = "unsupported_media_type"


class Unauthorized(WhyserveError):
    """The request has no API key, or an unknown one."""

    code = "unauthorized"


class Forbidden(WhyserveError):
    """The request's API key lacks the required scope."""

    code = "forbidden"


class UnsupportedMethod(InvalidInput):
    """The explanation method does not exist, or cannot explain this model."""

    code = "unsupported_method"


class TooManyPlayers(UnsupportedMethod):
    """The model has too many players for a method that enumerates coalitions."""

    code = "too_many_players"


class UnknownModel(WhyserveError):
    """No model with this name, or no such version of it, is served."""

    code = "unknown_model"


class UnknownLabel(InvalidInput):
    """The request names an output that the model does not have."""

    code = "unknown_label"


class UnknownExplanation(WhyserveError):
    """The explanation id is unknown, or the explanation has expired."""

    code = "unknown_explanation"


class ExplanationGone(UnknownExplanation):
    """The explanation was the caller's, but its result is not kept."""

    code = "explanation_gone"


class UnknownPrediction(WhyserveError):
    """The record has no prediction with this id, or the caller may not see it."""

    code = "unknown_prediction"


class PredictionGone(UnknownPrediction):
    """The record has the prediction, but its content or its network is gone."""

    code = "prediction_gone"


class AnswerTooLarge(InvalidInput):
    """The answer would be larger than the service sends or keeps."""

    code = "answer_too_large"


# -- errors of an operator -----------------------------------------------------------------------


class ConfigurationError(WhyserveError):
    """A setting has an invalid value, or one that does not fit this machine."""

    code = "configuration"


class ModelFault(WhyserveError):
    """A model folder or an artifact is invalid; the message names the file."""

    code = "model_fault"


class DigestMismatch(ModelFault):
    """A file's digest differs from the digest in its manifest."""

    code = "digest_mismatch"


class LoadRefused(InvalidInput):
    """A model cannot be loaded or unloaded; the models served so far are still served."""

    code = "load_refused"


class ParityFault(ModelFault):
    """The exported network's outputs differ from those of the original network."""

    code = "parity_fault"


class UnsupportedNetwork(ModelFault):
    """The network has an operation that cannot be explained correctly; the message names it."""

    code = "unsupported_network"


# -- errors that may pass, and of explanations ---------------------------------------------------


class Unavailable(WhyserveError):
    """The service cannot process the request now; the same request may succeed later."""

    code = "unavailable"


class Busy(Unavailable):
    """The service already processes as many requests as allowed."""

    code = "busy"


class RateLimited(WhyserveError):
    """The caller exceeds the rate limit of its API key."""

    code = "rate_limited"


class RecordUnavailable(Unavailable):
    """The decision cannot be recorded now, and an answer without a record is not allowed."""

    code = "record_unavailable"


class QueueFull(Unavailable):
    """The queue holds as many unfinished explanations as allowed."""

    code = "queue_full"


class IdempotencyKeyReused(InvalidInput):
    """The Idempotency-Key was used with a different request."""

    code = "idempotency_key_reused"


class StillComputing(Unavailable):
    """The explanation is not finished; the message holds the address of its result."""

    code = "still_computing"


class WorkerLost(WhyserveError):
    """The worker ended during this explanation, in each of several tries."""

    code = "worker_lost"


class ExplanationFailed(WhyserveError):
    """The explanation cannot be computed; the message says why."""

    code = "explanation_failed"


class ExplanationCancelled(WhyserveError):
    """The explanation was cancelled while a request waited for it."""

    code = "explanation_cancelled"


class ExplanationTimeout(WhyserveError):
    """The explanation did not finish before its deadline."""

    code = "explanation_timeout"


def first_line(error: BaseException) -> str:
    """The exception's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
