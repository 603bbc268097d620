"""Checks that every request passes before any work is done for it: host, key, rate, size, media type."""

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.types import Scope

from whyserve.api.middleware.auth import Authentication
from whyserve.api.middleware.body import BodyMemory
from whyserve.api.middleware.rate_limit import RateLimit
from whyserve.errors import UnsupportedMediaType
from whyserve.settings import ApiSettings

JSON_ONLY = ("/predict", "/explain")
Headers = Mapping[bytes, bytes]
REQUEST_LIMIT = "this key has used its request limit"


class Admission:
    """Raises HTTPException, Unauthorized, Forbidden, RateLimited, TooLarge, UnsupportedMediaType."""

    def __init__(self, settings: ApiSettings, body_memory: BodyMemory) -> None:
        """Raises ConfigurationError if the keys are invalid."""
        self._authentication, self._body_memory = Authentication.build(settings), body_memory
        rate = settings.max_requests_s
        self._rate = RateLimit(rate, 1.0, REQUEST_LIMIT) if rate else None

    def __call__(self, scope: Scope, headers: Headers) -> None:
        path: str = scope["path"]
        # Only requests with two headers of one name have fewer in the mapping: counting the hosts takes longer.
        if (len(headers) < len(scope["headers"]) or b"host" not in headers) and not _has_one_host(scope):
            raise HTTPException(400, "a request needs one Host header (RFC 9112, section 3.2); send it once")
        if self._authentication is not None:
            caller, scopes = self._authentication.identity(path, headers)
            scope["state"].update(caller=caller, scopes=scopes)
            if self._rate is not None and caller is not None:
                self._rate.take(caller)
        elif self._rate is not None and not path.startswith("/health/"):
            self._rate.take(None)
        length = headers.get(b"content-length")
        if length is not None:
            self._body_memory.check(int(length))
        if path in JSON_ONLY:
            kind = headers.get(b"content-type")
            # Without a Content-Type the body is taken for JSON, the only type that is accepted here.
            if kind is not None and not kind[:16].lower() == b"application/json":
                raise UnsupportedMediaType("the body must be JSON; send Content-Type: application/json")


def _has_one_host(scope: Scope) -> bool:
    return scope.get("http_version") != "1.1" or [name for name, _ in scope["headers"]].count(b"host") == 1
