"""GET /health/live, /health/ready."""

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.documents import PROBLEMS, Live, Ready
from app.api.service import Service

router = APIRouter(prefix="/health", tags=["health"], responses=PROBLEMS)


@router.get("/live", operation_id="live", response_model=Live)
async def live() -> Response:
    """The process answers."""
    return Response(b'{"status":"live"}', media_type="application/json")


@router.get("/ready", operation_id="ready", response_model=Ready)
async def ready(request: Request) -> Response:
    """Ready to predict; and how many workers are there to explain what is served here."""
    service: Service = request.app.state.service
    digests = {predictor.spec.name: predictor.digest for predictor in service.catalog}
    workers = [worker for worker in await service.queue.workers() if worker.digests.items() >= digests.items()]
    body = {"status": "ready", "models": service.catalog.names, "workers": len(workers)}
    return Response(orjson.dumps(body), media_type="application/json")
