"""The outermost ASGI layer: what every request passes, in as few steps as can be.

It gives a request its id, counts and times it, and hands it on: to one of the endpoints that must be quick, or
to the FastAPI application, whose own layers cost more than a small model's prediction.
"""

import logging
import time
from collections.abc import Callable

from prometheus_client import Counter, Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.failures import CLIENT_GONE, from_exception
from app.api.tracing import child_of, request_id_from
from app.logs import request_id, trace_id, trace_of
from app.metrics import REQUEST_S, REQUESTS

log = logging.getLogger("whyserve.access")


class Edge:
    def __init__(self, app: ASGIApp, quick: Callable[[str], ASGIApp | None]) -> None:
        """quick: the endpoint for POST at a path, where it is one that must be quick."""
        self._app, self._quick = app, quick
        self._observed = _Observed()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        identity = _identify(scope)
        status = 0

        async def send_with_identity(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", identity)]
            await send(message)

        try:
            quick = self._quick(scope["path"]) if scope["method"] == "POST" else None
            if quick is None:
                await self._app(scope, receive, send_with_identity)
            else:
                await quick(scope, receive, send_with_identity)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception as error:  # whatever it is, somebody waits for an answer
            if not status:
                await from_exception(scope["path"], error)(scope, receive, send_with_identity)
        finally:
            self._observed(scope, status, time.perf_counter() - began)


def _identify(scope: Scope) -> bytes:
    """Give the request its id and its place in a trace; the id, as a header has it."""
    given = traceparent = b""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value
        elif name == b"traceparent":
            traceparent = value
    identity = request_id_from(given)
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
