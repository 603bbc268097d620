"""The outermost ASGI layer: what every request passes, in as few steps as can be.

It gives a request its id, counts and times it, holds it to what a request must be, and hands it on: to one of the
endpoints that must be quick, or to the FastAPI application, whose own layers cost more than a small model's prediction.
"""

import logging
import time
from collections.abc import Callable, Iterable

from prometheus_client import Counter
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whyserve.api.errors.handler import CLIENT_GONE, from_exception
from whyserve.api.middleware.admission import Admission, Headers
from whyserve.api.middleware.body import BodyMemory, MeteredReceive
from whyserve.api.middleware.context import child_of, request_id_from
from whyserve.errors import Busy
from whyserve.settings import ApiSettings
from whyserve.telemetry.histogram import Histogram
from whyserve.telemetry.logs import request_id, trace_id, trace_of
from whyserve.telemetry.metrics import REQUEST_S, REQUESTS

log = logging.getLogger("whyserve.access")

# However busy it is, it says that it is there.
HEALTH = ("/health/", "/v2/health/")


# Nothing that answers one caller is kept for another, or taken for what it is not.
SAFE = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class RequestMiddleware:
    def __init__(
        self, app: ASGIApp, quick: Callable[[Scope], ASGIApp | None], settings: ApiSettings, bodies: BodyMemory
    ) -> None:
        """quick: the endpoint for a request, where it is one that must be quick.

        Raises ConfigurationError where the keys are wrong.
        """
        self._app, self._quick, self._bodies = app, quick, bodies
        self._admission, self._most = Admission(settings, bodies), settings.max_requests
        self._under_way = 0
        self._observed = _Observed()

    def is_quick(self, scope: Scope) -> bool:
        return self._quick(scope) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = dict(scope["headers"])
        identity = _identify(scope, headers)
        status = 0
        quick: ASGIApp | None = None

        async def send_with_identity(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = message.get("headers", ())
                added = SAFE if quick is not None else _missing(sent)
                message["headers"] = [*sent, (b"x-request-id", identity), *added]
            await send(message)

        self._under_way += 1
        try:
            if self._under_way > self._most and not scope["path"].startswith(HEALTH):
                raise Busy(f"{self._most} requests are under way already; ask again", retry_after_s=1)
            self._admission(scope, headers)
            quick = self._quick(scope)
            if quick is None:
                await self._metered(scope, receive, send_with_identity)
            else:
                await quick(scope, receive, send_with_identity)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception as error:  # whatever it is, somebody waits for an answer
            if not status:
                await from_exception(scope["path"], error)(scope, receive, send_with_identity)
        finally:
            self._under_way -= 1
            self._observed(scope, status, time.perf_counter() - began)

    async def _metered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application reads bodies by itself; what it reads is counted until it has answered."""
        metered = MeteredReceive(receive, self._bodies)
        try:
            await self._app(scope, metered, send)
        finally:
            metered.release()


def _missing(sent: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Of SAFE, what an answer does not say by itself, as the page's files do."""
    names = {name for name, _ in sent}
    return [header for header in SAFE if header[0] not in names]


def _identify(scope: Scope, headers: Headers) -> bytes:
    """Give the request its id and its place in a trace; the id, as a header has it."""
    identity = request_id_from(headers.get(b"x-request-id", b""))
    traceparent = headers.get(b"traceparent")
    state = scope.setdefault("state", {})
    state["request_id"] = identity
    request_id.set(identity)
    if traceparent and (child := child_of(traceparent)):
        state["traceparent"] = child
        trace_id.set(trace_of(child))
    return identity.encode()


class _Observed:
    """Counts, times and logs requests by route and model; what prometheus_client would look up is kept."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def __call__(self, scope: Scope, status: int, seconds: float) -> None:
        model = scope["state"].get("model", "")
        route = scope["state"].get("route") or getattr(scope.get("route"), "path", "other")
        kept = self._kept.get((route, model, status))
        if kept is None:
            kept = (REQUESTS.labels(route, model, status), REQUEST_S.labels(route, model))
            self._kept[route, model, status] = kept
        kept[0].inc()
        kept[1].observe(seconds)
        if log.isEnabledFor(logging.INFO):
            extra = {"method": scope["method"], "route": route, "model": model, "status": status}
            log.info("answered", extra={**extra, "ms": round(1e3 * seconds, 3)})
