"""POST /explain, and /explanations/{id}."""

from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.explain.job import Explained, caller_of, remember, request_job, result_of, submit_and_wait
from whyserve.api.explain.pictures import VARY, check_pictured, draw, picture_kind, selected
from whyserve.api.openapi.responses import PICTURED, PICTURES, PROBLEMS, ExplanationState
from whyserve.api.schemas.headers import prefers_async, wait_s
from whyserve.api.state import Service
from whyserve.errors import InvalidInput, TooManyInstances, UnknownExplanation
from whyserve.jobs import JobState

router = APIRouter(prefix="/explanations", tags=["explain"], responses=PROBLEMS)


async def explain(request: Request) -> Response:
    """Predict here, have it explained there, and wait for that unless asked not to."""
    service: Service = request.app.state.service
    request.scope["state"]["route"] = "/explain"
    kind = picture_kind(request.headers)
    asked = service.read(service.explain_adapter, await request.body())
    predictor = service.catalog.get(asked["model"], asked.get("version"))
    request.scope["state"]["model"] = predictor.spec.name
    if not asked.get("summary") and len(asked["instances"]) > service.settings.max_instances:
        raise TooManyInstances(
            f'"instances" must hold at most {service.settings.max_instances}; of more, "summary": true gives a summary',
            field="instances",
        )
    job = await request_job(request, service, predictor, await predictor.read(asked["instances"]), asked)
    if kind:
        check_pictured(job)
    # A summary takes long, and is another answer than an explanation: it is never waited for.
    limit_s = 0.0 if job.summary else wait_s(request.headers, service.settings.explain_wait_s)
    outcome = await submit_and_wait(request, service, job, limit_s)
    if isinstance(outcome, Explained):
        if kind:
            picture = await draw(request, service, job, outcome.body, kind=kind, at=(0, job.outputs[0][0]))
            picture.headers["X-Cache"] = outcome.cache
            return picture
        return Response(outcome.body, headers={"X-Cache": outcome.cache, **VARY}, media_type="application/json")
    return _accepted(outcome, {"Preference-Applied": "respond-async"} if prefers_async(request.headers) else None)


@router.get(
    "/{id}",
    operation_id="getExplanation",
    response_model=ExplanationState,
    responses={
        200: {"content": PICTURES},
        202: {"model": ExplanationState, "description": "There is no picture yet: it is not explained so far."},
    },
    openapi_extra={"parameters": PICTURED},
)
async def show(request: Request, id: str) -> Response:
    """How far an explanation is, and its result once it is there; or a picture of that, where Accept asks for one."""
    service: Service = request.app.state.service
    kind = picture_kind(request.headers)
    state = await own_state(service, request, id)
    if not kind:
        return Response(state_json(state), headers=VARY, media_type="application/json")
    if not state.status.is_final:
        return _accepted(state)
    answer, job = result_of(state), await service.queue.job(id)
    if job.summary or job.drawing:
        raise InvalidInput("there is no picture of this: it explains no single instance")
    at = selected(request, job)
    await request.body()  # what comes after it is the caller's end
    return await draw(request, service, job, answer, kind=kind, at=at)


@router.delete("/{id}", operation_id="cancelExplanation", response_model=ExplanationState)
async def cancel(request: Request, id: str) -> Response:
    """Cancel an explanation that is not there yet."""
    service: Service = request.app.state.service
    await own_state(service, request, id)
    return Response(state_json(remember(service, await service.queue.cancel(id))), media_type="application/json")


async def own_state(service: Service, request: Request, job_id: str) -> JobState:
    """The state of the caller's own job. Raises UnknownExplanation, also where it is another's."""
    state = await service.queue.state(job_id)
    if state.caller != caller_of(request):
        raise UnknownExplanation("no explanation has this id, or its result is no longer kept")
    return remember(service, state)


def _accepted(state: JobState, headers: dict[str, str] | None = None) -> Response:
    location = {"Location": f"/explanations/{state.id}", **(headers or {})}
    return Response(state_json(state), 202, location, "application/json")


def state_json(state: JobState) -> bytes:
    """A job's state as JSON."""
    shown: dict[str, Any] = {"id": state.id, "status": state.status.value, "progress": state.progress}
    if state.standard_error is not None:
        shown["standard_error"] = state.standard_error
    if state.error:
        shown["error"] = {"code": state.error.code, "detail": state.error.message}
    if state.result is not None:
        shown["result"] = orjson.Fragment(state.result)
    return orjson.dumps(shown)
