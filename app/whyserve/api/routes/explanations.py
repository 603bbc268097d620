"""GET and DELETE /explanations/{id}, and its progress as server-sent events: GET /explanations/{id}/events."""

import time
from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from whyserve.api.explain import wait
from whyserve.api.explain.job import note_explained
from whyserve.api.explain.pictures import VARY, draw, picture_kind, selected
from whyserve.api.openapi.responses import PICTURE_PARAMETERS, PICTURES, ExplanationState
from whyserve.api.routes.explain import JSON, accepted, state_json
from whyserve.api.routes.replay import predictor_of
from whyserve.api.state import Service
from whyserve.errors import InvalidInput
from whyserve.jobs import JobState

router = APIRouter(prefix="/explanations", tags=["explain"])
# Proxies close a connection that is silent for long. A comment keeps it open.
KEEP_OPEN_S = 15.0


@router.get(
    "/{id}",
    operation_id="getExplanation",
    response_model=ExplanationState,
    responses={
        200: {"content": PICTURES},
        202: {"model": ExplanationState, "description": "The explanation is not final, so it has no picture yet."},
    },
    openapi_extra={"parameters": PICTURE_PARAMETERS},
)
async def show(request: Request, id: str) -> Response:
    """An explanation's progress, and its result when it is done. With an image type in Accept: a picture of it."""
    service: Service = request.app.state.service
    kind = picture_kind(request.headers)
    state = await wait.look_up(request, service, id)
    if service.record is not None and state.result is not None:
        await _note(request, service, state)
    if not kind:
        return Response(state_json(state), headers=VARY, media_type=JSON)
    if not state.status.is_final:
        return accepted(request, state, {})
    answer, job = wait.result_of(state), await service.queue.job(id)
    if job.summary or job.drawing:
        raise InvalidInput("this explanation has no picture: it is not an explanation of single instances")
    at = selected(request, job)
    await request.body()  # must be read first: afterwards the only message left is the disconnect
    return await draw(request, service, job, answer, kind=kind, at=at)


async def _note(request: Request, service: Service, state: JobState) -> None:
    """The result that was promised is the answer of a decision now."""
    job = await service.queue.job(state.id)
    if not job.drawing:
        predictor = await predictor_of(service, job.model, job.version, job.digest)
        note_explained(request, service, predictor, job)
        wait.note_explanation(request, state.result or b"")


@router.delete("/{id}", operation_id="cancelExplanation", response_model=ExplanationState)
async def cancel(request: Request, id: str) -> Response:
    """Cancel an explanation, unless it is final."""
    service: Service = request.app.state.service
    return Response(state_json(await wait.cancel(request, service, id)), media_type=JSON)


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
    state = await wait.look_up(request, service, id)
    return StreamingResponse(_events(service, state), media_type="text/event-stream")


async def _events(service: Service, first: JobState) -> AsyncIterator[bytes]:
    """When the stream ends early, the browser's EventSource reconnects by itself and then gets the error."""
    sent_at, sent = time.monotonic(), b""
    async for state in wait.follow(service, first):
        data = state_json(state)
        name = state.status.value if state.status.is_final else "progress"
        if data != sent:
            sent_at, sent = time.monotonic(), data
            yield f"event: {name}\n".encode() + b"data: " + data + b"\n\n"
        elif time.monotonic() - sent_at > KEEP_OPEN_S:
            sent_at = time.monotonic()
            yield b": no change\n\n"
