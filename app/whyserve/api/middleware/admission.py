"""What a request must be before anything is done for it."""

from collections.abc import Mapping

from starlette.types import Scope

from whyserve.api.middleware.auth import Authentication
from whyserve.api.middleware.body import BodyMemory
from whyserve.api.middleware.rate_limit import RateLimit
from whyserve.errors import UnsupportedMediaType
from whyserve.settings import ApiSettings

JSON_ONLY = ("/predict", "/explain")
# Here a body may be compressed, and is bounded when unpacked.
PACKED = ("/v1/", "/v2")
Headers = Mapping[bytes, bytes]


class Admission:
    """Raises Unauthorized, Forbidden, RateLimited, TooLarge, UnsupportedMediaType."""

    def __init__(self, settings: ApiSettings, bodies: BodyMemory) -> None:
        """Raises ConfigurationError where the keys are wrong."""
        self._access, self._bodies = Authentication.build(settings), bodies
        rate = settings.max_requests_s
        self._rate = RateLimit(rate, 1.0, "this key asks more often than it may") if rate else None

    def __call__(self, scope: Scope, headers: Headers) -> None:
        path: str = scope["path"]
        if self._access is not None:
            caller = scope["state"]["caller"] = self._access.caller(path, headers)
            if self._rate is not None and caller is not None:
                self._rate.take(caller)
        elif self._rate is not None and not path.startswith("/health/"):
            self._rate.take(None)
        length = headers.get(b"content-length")
        if length is not None:
            self._bodies.check(int(length))
        if b"content-encoding" in headers and not path.startswith(PACKED):
            _check_coding(headers)
        if path in JSON_ONLY:
            kind = headers.get(b"content-type")
            # A caller that says nothing means JSON: there is nothing else that it could mean here.
            if kind is not None and not kind[:16].lower() == b"application/json":
                raise UnsupportedMediaType("the body must be JSON; send Content-Type: application/json")


def _check_coding(headers: Headers) -> None:
    if headers[b"content-encoding"].strip().lower() not in (b"", b"identity"):
        raise UnsupportedMediaType("the body must not be compressed here; under /v1 and /v2 it may be")
