"""The FastAPI application over a set of models and a queue."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from app.api import explanations, health, models, openapi, predictions, problems
from app.api.service import Service
from app.errors import WhyserveError


def create_app(service: Service) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.queue.close()

    app = FastAPI(title="Whyserve", version=version("whyserve"), lifespan=lifespan, redoc_url=None)
    app.state.service = service
    # Plain routes: FastAPI's own machinery would cost more than the prediction, and its types would be one
    # type for all models. The document tells what they take (openapi.py).
    app.add_route("/predict", predictions.predict, methods=["POST"], include_in_schema=False)
    app.add_route("/explain", explanations.explain, methods=["POST"], include_in_schema=False)
    app.include_router(explanations.router)
    app.include_router(models.router)
    app.include_router(health.router)
    app.add_exception_handler(WhyserveError, problems.on_domain_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(Exception, problems.on_surprise)

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = openapi.document(app, service)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    return app
