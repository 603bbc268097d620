"""POST /explain, and /explanations/{id}."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.explain import wait
from whyserve.api.explain.job import build_job
from whyserve.api.explain.pictures import VARY, check_pictured, draw, picture_kind, selected
from whyserve.api.openapi.responses import PICTURE_PARAMETERS, PICTURES, ExplanationState
from whyserve.api.schemas.explanation_state import state_json
from whyserve.api.schemas.headers import prefers_async, wait_s
from whyserve.api.schemas.requests import instances_limit
from whyserve.api.state import Service
from whyserve.errors import InvalidInput, TooManyInstances
from whyserve.jobs import ExplainJob, JobState

router = APIRouter(prefix="/explanations", tags=["explain"])
JSON = "application/json"


async def explain(request: Request) -> Response:
    """Predict in this process, let a worker explain the predictions, and wait unless the caller prefers 202."""
    service: Service = request.app.state.service
    request.scope["state"]["route"] = "/explain"
    kind = picture_kind(request.headers)
    job = await _requested_job(request, service)
    if kind:
        check_pictured(job)
    # A summary takes long, and its result differs from an explanation's. The caller always fetches it later.
    limit_s = 0.0 if job.summary else wait_s(request.headers, service.settings.explain_wait_s)
    outcome = await wait.submit_and_wait(request, service, job, limit_s)
    if not isinstance(outcome, wait.Answer):
        return _accepted(outcome, {"Preference-Applied": "respond-async"} if prefers_async(request.headers) else {})
    cache = {"X-Cache": outcome.cache}
    if not kind:
        return Response(outcome.body, headers={**cache, **VARY}, media_type=JSON)
    picture = await draw(request, service, job, outcome.body, kind=kind, at=(0, job.outputs[0][0]))
    picture.headers.update(cache)
    return picture


async def _requested_job(request: Request, service: Service) -> ExplainJob:
    body = service.parse(service.explain_adapter, await request.body())
    predictor = service.catalog.get(body["model"], body.get("version"))
    request.scope["state"]["model"] = predictor.spec.name
    limit = service.settings.max_instances
    if not body.get("summary") and len(body["instances"]) > limit:
        raise TooManyInstances(f'{instances_limit(limit)}, or send "summary": true', field="instances")
    return await build_job(request, service, predictor, await predictor.read(body["instances"]), body)


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
    if not kind:
        return Response(state_json(state), headers=VARY, media_type=JSON)
    if not state.status.is_final:
        return _accepted(state, {})
    answer, job = wait.result_of(state), await service.queue.job(id)
    if job.summary or job.drawing:
        raise InvalidInput("this explanation has no picture: it is not an explanation of single instances")
    at = selected(request, job)
    await request.body()  # must be read first: afterwards the only message left is the disconnect
    return await draw(request, service, job, answer, kind=kind, at=at)


@router.delete("/{id}", operation_id="cancelExplanation", response_model=ExplanationState)
async def cancel(request: Request, id: str) -> Response:
    """Cancel an explanation, unless it is final."""
    service: Service = request.app.state.service
    return Response(state_json(await wait.cancel(request, service, id)), media_type=JSON)


def _accepted(state: JobState, headers: Mapping[str, Any]) -> Response:
    return Response(state_json(state), 202, {"Location": f"/explanations/{state.id}", **headers}, JSON)
