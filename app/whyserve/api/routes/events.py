"""GET /explanations/{id}/events: how far an explanation is, as server-sent events, until it is final."""

import time
from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from whyserve.api.explain.job import remember
from whyserve.api.openapi.responses import PROBLEMS
from whyserve.api.routes.explain import own_state, state_json
from whyserve.api.state import Service
from whyserve.errors import Unavailable, UnknownExplanation
from whyserve.jobs import JobState

router = APIRouter(prefix="/explanations", tags=["explain"], responses=PROBLEMS)

LOOK_S = 0.2
# Proxies close what is silent for long; a comment keeps it open.
SILENCE_S = 15.0


@router.get(
    "/{id}/events",
    operation_id="followExplanation",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}, "description": "A `progress` event at each change, and "
                     "at the end one named for how it ended, with what GET /explanations/{id} answers."}},
)  # fmt: skip
async def follow(request: Request, id: str) -> Response:
    """Follow an explanation until it is there."""
    service: Service = request.app.state.service
    first = await own_state(service, request, id)
    return StreamingResponse(_events(service, first), media_type="text/event-stream")


async def _events(service: Service, state: JobState) -> AsyncIterator[bytes]:
    said_at, said = time.monotonic(), b""
    while not state.status.is_final and not service.hurry.is_set():
        data = state_json(state)
        if data != said:
            said_at, said = time.monotonic(), data
            yield b"event: progress\ndata: " + data + b"\n\n"
        elif time.monotonic() - said_at > SILENCE_S:
            said_at = time.monotonic()
            yield b": still there\n\n"
        try:
            state = remember(service, await service.queue.wait(state.id, LOOK_S))
        except (Unavailable, UnknownExplanation):
            return  # the browser's EventSource asks again by itself, and is told what is wrong
    if state.status.is_final:
        yield f"event: {state.status.value}\n".encode() + b"data: " + state_json(state) + b"\n\n"
