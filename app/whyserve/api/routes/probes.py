"""GET /health/live, /health/ready, and /metrics for Prometheus."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.middleware.answers import json_response
from whyserve.api.openapi.responses import Live, Ready
from whyserve.api.state import Service
from whyserve.errors import Unavailable
from whyserve.predict.batcher import shutting_down
from whyserve.telemetry.metrics import DIRECT_WAITING, EXPLANATION_S, QUEUE_DEPTH, RESIDUAL, WORKERS

router = APIRouter()


@router.get("/health/live", operation_id="live", tags=["health"], response_model=Live)
async def live() -> Response:
    """The process is running."""
    return json_response({"status": "live"})


@router.get("/health/ready", operation_id="ready", tags=["health"], response_model=Ready)
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


@router.get(
    "/metrics",
    operation_id="metrics",
    tags=["metrics"],
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "Prometheus's text format.",
        }
    },
)
async def show(request: Request) -> Response:
    """The metrics of this process, in Prometheus's text format. Only one process counts each explanation."""
    service: Service = request.app.state.service
    DIRECT_WAITING.set(len(service.direct))
    try:
        QUEUE_DEPTH.set(await service.queue.depth())
        WORKERS.set(len(await service.queue.workers()))
        for each in await service.queue.job_metrics():
            EXPLANATION_S.labels(each.model, each.method).observe(each.seconds)
            if each.residual is not None:
                RESIDUAL.labels(each.model, each.method).observe(each.residual)
    except Unavailable:
        # Without the queue its depth is unknown. The other metrics matter even more then.
        QUEUE_DEPTH.set(float("nan"))
        WORKERS.set(0)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
