"""GET /health/live, /health/ready."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.middleware.answers import json_response
from whyserve.api.openapi.responses import Live, Ready
from whyserve.api.state import Service
from whyserve.errors import Unavailable
from whyserve.predict.batcher import shutting_down

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", operation_id="live", response_model=Live)
async def live() -> Response:
    """The process is running."""
    return json_response({"status": "live"})


@router.get("/ready", operation_id="ready", response_model=Ready)
async def ready(
    request: Request,
    explain: Annotated[Literal["0", "1"], Query(description="1: ready only if a worker can explain as well.")] = "0",
) -> Response:
    """The service is ready to predict. `workers` is the number of workers that can explain the served models."""
    service: Service = request.app.state.service
    if service.shutting_down.is_set():
        raise shutting_down()
    served = {predictor.digest for predictor in service.catalog.all}
    try:
        workers = sum(worker.digests >= served for worker in await service.queue.workers())
    except Unavailable:
        workers = 0  # predictions do not need the queue
    if explain == "1" and not workers:
        raise Unavailable("no worker can explain the served models yet; predictions are served", retry_after_s=1)
    return json_response({"status": "ready", "models": service.catalog.names, "workers": workers})
