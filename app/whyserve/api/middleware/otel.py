"""Tracing: one span per request, and one per prediction in it. Used only if tracing is enabled."""

from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whyserve.model.rows import Arrays
from whyserve.predict.catalog import Catalog
from whyserve.predict.predictor import Predictor

if TYPE_CHECKING:
    from whyserve.telemetry.spans import Tracer

# Probes and scrapes are frequent, and nobody looks for their traces.
UNTRACED = ("/health/", "/v2/health/", "/metrics")
TRACEPARENT = b"traceparent"


class TracedApp:
    """Wraps the whole application, so that a request's span covers all of its time."""

    def __init__(self, app: ASGIApp, tracer: "Tracer") -> None:
        self._app, self._tracer = app, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(UNTRACED):
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        parent = dict(scope["headers"]).get(TRACEPARENT)
        with self._tracer.request(scope["method"], parent and parent.decode("latin-1")) as span:
            kept = [header for header in scope["headers"] if header[0] != TRACEPARENT]
            scope["headers"] = [*kept, (TRACEPARENT, (self._tracer.traceparent() or "").encode())]
            await self._app(scope, receive, send_and_note_status)
            state = scope["state"]
            route = state.get("route") or getattr(scope.get("route"), "path", "other")
            span.update_name(f"{scope['method']} {route}")
            attributes = {
                "http.route": route,
                "http.response.status_code": status,
                "whyserve.model": state.get("model"),
            }
            attributes |= {"http.request.method": scope["method"], "whyserve.request_id": state.get("request_id")}
            span.set_attributes({name: value for name, value in attributes.items() if value is not None})
            if status >= 500:
                self._tracer.fail(span, str(status))


class TracedPredictor(Predictor):
    """Wraps a predictor and traces its answers. Everything else comes from the wrapped one."""

    def __init__(self, predictor: Predictor, tracer: "Tracer") -> None:
        self._inner, self._tracer = predictor, tracer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def answer(self, arrays: Arrays, place: str = "instances") -> np.ndarray:
        rows = len(next(iter(arrays.values())))
        with self._tracer.inside("predict", {"whyserve.model": self._inner.spec.name, "whyserve.rows": rows}):
            return await self._inner.answer(arrays, place)


def traced(catalog: Catalog, tracer: "Tracer") -> Catalog:
    """The same models, with every prediction traced."""
    return Catalog(each if isinstance(each, TracedPredictor) else TracedPredictor(each, tracer) for each in catalog.all)
