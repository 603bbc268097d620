"""GET /metrics, for Prometheus."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.state import Service
from whyserve.errors import Unavailable
from whyserve.telemetry.metrics import EXPLANATION_S, QUEUE_DEPTH, RESIDUAL, WORKERS

router = APIRouter(tags=["metrics"])


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus's text."}},
)
async def show(request: Request) -> Response:
    """This process's metrics in Prometheus's text format. Each explanation is counted by one process."""
    service: Service = request.app.state.service
    try:
        QUEUE_DEPTH.set(await service.queue.depth())
        WORKERS.set(len(await service.queue.workers()))
        for each in await service.queue.job_metrics():
            EXPLANATION_S.labels(each.model, each.method).observe(each.seconds)
            if each.residual is not None:
                RESIDUAL.labels(each.model, each.method).observe(each.residual)
    except Unavailable:
        # A queue that cannot be asked has no depth; the other figures are wanted now most of all.
        QUEUE_DEPTH.set(float("nan"))
        WORKERS.set(0)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
