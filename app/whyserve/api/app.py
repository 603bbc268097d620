"""The FastAPI application over a set of models and a queue."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from whyserve import __version__
from whyserve.api.errors.handler import on_exception
from whyserve.api.explain.counterfactuals import Counterfactuals
from whyserve.api.middleware.request import RequestMiddleware
from whyserve.api.oip import v1
from whyserve.api.oip.infer import Infer, is_infer
from whyserve.api.openapi.document import document
from whyserve.api.promotion import LAST_SHARE
from whyserve.api.routes import explanations, models, predictions, probes
from whyserve.api.routes.counterfactual import counterfactual
from whyserve.api.routes.explain import Explain
from whyserve.api.routes.oip import oip_router
from whyserve.api.routes.page import docs_routes, page_routes
from whyserve.api.routes.predict import Predict
from whyserve.api.state import Service
from whyserve.delivery.listening import listening
from whyserve.errors import WhyserveError

# The headers of an answer that a page of another origin may read.
EXPOSED = (
    "Location", "Preference-Applied", "Retry-After", "Server-Timing", "X-Cache", "X-Prediction-Id", "X-Request-Id",
)  # fmt: skip


def create_app(service: Service) -> RequestMiddleware:
    """The application that uvicorn serves."""
    predict, infer, explain, kserve = Predict(service), Infer(service), Explain(service), v1.Predict(service)

    def quick(scope: Scope) -> ASGIApp | None:
        path = scope["path"]
        if scope["method"] != "POST":
            return None
        if path == "/predict":
            return predict
        if path == "/explain":
            return explain
        if v1.is_predict(path):
            return kserve
        return infer if is_infer(path) else None

    return RequestMiddleware(
        create_api(service), quick, service.settings, service.body_memory, service.shutting_down, record=service.record
    )


def with_cors(app: RequestMiddleware, origins: list[str]) -> ASGIApp:
    """The application for pages of other origins too, if there are any."""
    return CORSMiddleware(app, origins, ("GET", "POST", "DELETE"), ("*",), expose_headers=EXPOSED) if origins else app


def create_api(service: Service) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        settings = service.settings
        if service.record is not None:
            await service.record.start()
        async with listening(service.direct, settings):
            yield
            await service.promoted.close(LAST_SHARE * settings.drain_s)
        for predictor in service.catalog.all:
            await predictor.close()
        await service.queue.close()
        if service.record is not None:
            await service.record.close()

    app = FastAPI(
        title="Whyserve",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # routes/page.py has one whose script comes from no CDN
        redoc_url=None,
        # FastAPI's spans would leave out /predict; middleware/otel.py traces all requests.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.service, app.state.counterfactuals = service, Counterfactuals(service)
    # Plain routes: FastAPI's routing costs more than a small model's prediction, and it has one type for all models.
    # The openapi package adds their types to the document.
    app.router.routes.append(Route("/predict", Predict(service), methods=["POST"], include_in_schema=False))
    app.include_router(oip_router(Infer(service), v1.Predict(service)))
    app.router.routes.append(Route("/explain", Explain(service), methods=["POST"], include_in_schema=False))
    app.router.routes.append(Route("/counterfactual", counterfactual, methods=["POST"], include_in_schema=False))
    app.include_router(explanations.router)
    app.include_router(predictions.router)
    app.include_router(models.router)
    app.include_router(probes.router)
    app.router.routes.extend([*docs_routes(), *page_routes()])
    for kind in (WhyserveError, HTTPException, Exception):
        app.add_exception_handler(kind, on_exception)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app, service)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    return app
