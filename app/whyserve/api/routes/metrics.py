"""GET /metrics, for Prometheus."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.state import Service
from whyserve.errors import Unavailable
from whyserve.telemetry.metrics import DIRECT_WAITING, EXPLANATION_S, QUEUE_DEPTH, RESIDUAL, WORKERS

router = APIRouter(tags=["metrics"])


@router.get(
    "/metrics",
    operation_id="metrics",
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
