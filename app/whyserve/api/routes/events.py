"""GET /explanations/{id}/events: the progress of an explanation as server-sent events, until it is final."""

import time
from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from whyserve.api.explain.wait import follow, look_up
from whyserve.api.routes.explain import state_json
from whyserve.api.state import Service
from whyserve.jobs import JobState

router = APIRouter(prefix="/explanations", tags=["explain"])

# Proxies close a connection that is silent for long. A comment keeps it open.
KEEP_OPEN_S = 15.0


@router.get(
    "/{id}/events",
    operation_id="followExplanation",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}, "description": "A `progress` event for each change. The "
                     "last event is named after the final status. Its data is that of GET /explanations/{id}."}},
)  # fmt: skip
async def events(request: Request, id: str) -> Response:
    """Follow an explanation until it is final."""
    service: Service = request.app.state.service
    state = await look_up(request, service, id)
    return StreamingResponse(_events(service, state), media_type="text/event-stream")


async def _events(service: Service, first: JobState) -> AsyncIterator[bytes]:
    """When the stream ends early, the browser's EventSource reconnects by itself and then gets the error."""
    sent_at, sent = time.monotonic(), b""
    async for state in follow(service, first):
        data = state_json(state)
        name = state.status.value if state.status.is_final else "progress"
        if data != sent:
            sent_at, sent = time.monotonic(), data
            yield f"event: {name}\n".encode() + b"data: " + data + b"\n\n"
        elif time.monotonic() - sent_at > KEEP_OPEN_S:
            sent_at = time.monotonic()
            yield b": no change\n\n"
