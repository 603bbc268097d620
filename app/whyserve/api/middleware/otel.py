"""What is traced of the API, where traces are wanted: every request, and every prediction in it."""

from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whyserve.model.rows import Arrays
from whyserve.predict.catalog import Catalog
from whyserve.predict.predictor import Predictor

if TYPE_CHECKING:
    from whyserve.telemetry.spans import Tracer

# Asked all the time, and by nobody who would look for it.
UNTRACED = ("/health/", "/v2/health/", "/metrics")
TRACEPARENT = b"traceparent"


class TracedApp:
    """Around the whole application: a request's span begins before anything is looked at."""

    def __init__(self, app: ASGIApp, spans: "Tracer") -> None:
        self._app, self._spans = app, spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(UNTRACED):
            await self._app(scope, receive, send)
            return
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        given = dict(scope["headers"]).get(TRACEPARENT)
        with self._spans.request(scope["method"], given and given.decode("latin-1")) as span:
            kept = [header for header in scope["headers"] if header[0] != TRACEPARENT]
            scope["headers"] = [*kept, (TRACEPARENT, (self._spans.traceparent() or "").encode())]
            await self._app(scope, receive, observed)
            state = scope["state"]
            route = state.get("route") or getattr(scope.get("route"), "path", "other")
            span.update_name(f"{scope['method']} {route}")
            told = {"http.route": route, "http.response.status_code": status, "whyserve.model": state.get("model")}
            told |= {"http.request.method": scope["method"], "whyserve.request_id": state.get("request_id")}
            span.set_attributes({name: value for name, value in told.items() if value is not None})
            if status >= 500:
                self._spans.fail(span, str(status))


class TracedPredictor(Predictor):
    """A predictor in front of another, whose answers it traces: all else is the other's."""

    def __init__(self, predictor: Predictor, spans: "Tracer") -> None:
        self._inner, self._spans = predictor, spans

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def answer(self, arrays: Arrays, place: str = "instances") -> np.ndarray:
        rows = len(next(iter(arrays.values())))
        with self._spans.inside("predict", {"whyserve.model": self._inner.spec.name, "whyserve.rows": rows}):
            return await self._inner.answer(arrays, place)


def traced(catalog: Catalog, spans: "Tracer") -> Catalog:
    """The same models, each prediction of which is traced."""
    return Catalog(each if isinstance(each, TracedPredictor) else TracedPredictor(each, spans) for each in catalog.all)
