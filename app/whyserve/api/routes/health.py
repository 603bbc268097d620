"""GET /health/live, /health/ready."""

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.openapi.responses import PROBLEMS, Live, Ready
from whyserve.api.state import Service
from whyserve.errors import Unavailable

router = APIRouter(prefix="/health", tags=["health"], responses=PROBLEMS)


@router.get("/live", operation_id="live", response_model=Live)
async def live() -> Response:
    """The process answers."""
    return Response(b'{"status":"live"}', media_type="application/json")


@router.get("/ready", operation_id="ready", response_model=Ready)
async def ready(request: Request) -> Response:
    """Ready to predict; and how many workers are there to explain what is served here."""
    service: Service = request.app.state.service
    if service.leaving.is_set():
        raise Unavailable("the service is stopping; ask another", retry_after_s=1)
    served = {predictor.digest for predictor in service.catalog.all}
    try:
        workers = sum(worker.digests >= served for worker in await service.queue.workers())
    except Unavailable:
        workers = 0  # predicting needs no queue
    body = {"status": "ready", "models": service.catalog.names, "workers": workers}
    return Response(orjson.dumps(body), media_type="application/json")
