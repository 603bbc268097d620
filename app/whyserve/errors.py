"""All errors that a caller or operator can cause or must act on, as one class tree without HTTP.

`code` is stable and meant for programs. It is the name of the class in lower case with _ between the words, unless the
class sets another one. The message is meant for people: what is wrong, where, and what to do.
`details` holds the same facts as data, and never values that the caller sent.
"""

import re
from typing import Any, ClassVar


class WhyserveError(Exception):
    """The base class; to be caught where a request or a process ends."""

    code: ClassVar[str] = "internal"

    def __init_subclass__(cls) -> None:
        if "code" not in vars(cls):
            cls.code = re.sub("(?!^)(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


# -- errors of a request -------------------------------------------------------------------------


class InvalidInput(WhyserveError):
    """The request is well-formed, but its content is invalid."""


class MalformedBody(InvalidInput):
    """The body is not JSON, or not an object of the expected form."""


class TooManyInstances(InvalidInput):
    """The request has more instances than allowed."""


class TooLarge(InvalidInput):
    """The body is larger than allowed."""

    code = "body_too_large"


class DuplicateKey(InvalidInput):
    """An object of the body has the same key twice; JSON parsers differ in which value they use."""


class NotAcceptable(WhyserveError):
    """The Accept header allows none of the available media types."""


class UnsupportedMediaType(WhyserveError):
    """The body's media type or content encoding is not supported."""


class Unauthorized(WhyserveError):
    """The request has no API key, or an unknown one."""


class Forbidden(WhyserveError):
    """The request's API key lacks the required scope."""


class UnsupportedMethod(InvalidInput):
    """The explanation method does not exist, or cannot explain this model."""


class TooManyPlayers(UnsupportedMethod):
    """The model has too many players for a method that enumerates coalitions."""


class UnknownModel(WhyserveError):
    """No model with this name, or no such version of it, is served."""


class UnknownLabel(InvalidInput):
    """The request names an output that the model does not have."""


class UnknownExplanation(WhyserveError):
    """The explanation id is unknown, or the explanation has expired."""


class ExplanationGone(UnknownExplanation):
    """The explanation was the caller's, but its result is not kept."""


class UnknownPrediction(WhyserveError):
    """The record has no prediction with this id, or the caller may not see it."""


class PredictionGone(UnknownPrediction):
    """The record has the prediction, but its content or its network is gone."""


class AnswerTooLarge(InvalidInput):
    """The answer would be larger than the service sends or keeps."""


# -- errors of an operator -----------------------------------------------------------------------


class ConfigurationError(WhyserveError):
    """A setting has an invalid value, or one that does not fit this machine."""

    code = "configuration"


class ModelFault(WhyserveError):
    """A model folder or an artifact is invalid; the message names the file."""


class DigestMismatch(ModelFault):
    """A file's digest differs from the digest in its manifest."""


class LoadRefused(InvalidInput):
    """A model cannot be loaded or unloaded; the models served so far are still served."""


class ParityFault(ModelFault):
    """The exported network's outputs differ from those of the original network."""


class UnsupportedNetwork(ModelFault):
    """The network has an operation that cannot be explained correctly; the message names it."""


# -- errors that may pass, and of explanations ---------------------------------------------------


class Unavailable(WhyserveError):
    """The service cannot process the request now; the same request may succeed later."""


class Busy(Unavailable):
    """The service already processes as many requests as allowed."""


class RateLimited(WhyserveError):
    """The caller exceeds the rate limit of its API key."""


class RecordUnavailable(Unavailable):
    """The decision cannot be recorded now, and an answer without a record is not allowed."""


class QueueFull(Unavailable):
    """The queue holds as many unfinished explanations as allowed."""


class IdempotencyKeyReused(InvalidInput):
    """The Idempotency-Key was used with a different request."""


class StillComputing(Unavailable):
    """The explanation is not finished; the message holds the address of its result."""


class WorkerLost(WhyserveError):
    """The worker ended during this explanation, in each of several tries."""


class ExplanationFailed(WhyserveError):
    """The explanation cannot be computed; the message says why."""


class ExplanationCancelled(WhyserveError):
    """The explanation was cancelled while a request waited for it."""


class ExplanationTimeout(WhyserveError):
    """The explanation did not finish before its deadline."""


def first_line(error: BaseException) -> str:
    """The exception's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
