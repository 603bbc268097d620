"""POST /explain."""

import asyncio
from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from whyserve.api.explain import wait
from whyserve.api.explain.job import build_job
from whyserve.api.explain.pictures import VARY, check_pictured, draw, picture_kind
from whyserve.api.middleware.answers import PartsAnswer
from whyserve.api.middleware.body import MeteredReceive
from whyserve.api.routes import replay
from whyserve.api.schemas.headers import prefers_async, wait_s
from whyserve.api.schemas.requests import instances_limit
from whyserve.api.state import Service
from whyserve.errors import TooManyInstances
from whyserve.jobs import ExplainJob, JobState

JSON = "application/json"
# Reading a larger body takes milliseconds. Between two of them, so many turns of the event loop are free for others: a
# new connection is accepted, read and answered in them.
LARGE_BODY, FREE_TURNS = 8 << 10, 4


class Explain:
    """Plain ASGI, as for /predict. The body counts as memory in use until it is answered."""

    def __init__(self, service: Service) -> None:
        self._service, self._reading = service, asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        metered = MeteredReceive(receive, self._service.body_memory)
        try:
            answer = await self._answer(Request(scope, metered))
            await answer(scope, metered, send)
        finally:
            metered.release()

    async def _answer(self, request: Request) -> ASGIApp:
        """Predict in this process, let a worker explain the predictions, and wait unless the caller prefers 202."""
        service = self._service
        request.scope["state"]["route"] = "/explain"
        kind = picture_kind(request.headers)
        job = await self._requested_job(request)
        if kind:
            check_pictured(job)
        # A summary takes long, and its result differs from an explanation's. The caller always fetches it later.
        limit_s = 0.0 if job.summary else wait_s(request.headers, service.settings.explain_wait_s)
        outcome = await wait.submit_and_wait(request, service, job, limit_s)
        if not isinstance(outcome, wait.Answer):
            return accepted(
                request, outcome, {"Preference-Applied": "respond-async"} if prefers_async(request.headers) else {}
            )
        if not kind:
            return PartsAnswer(replay.noted(request, outcome.parts), {**outcome.headers, **VARY})
        wait.note_explanation(request, outcome.body)
        picture = await draw(request, service, job, outcome.body, kind=kind, at=(0, job.outputs[0][0]))
        picture.headers.update(outcome.headers)
        return picture

    async def _requested_job(self, request: Request) -> ExplainJob:
        content = (await request.body()).removeprefix(BOM_UTF8)
        if len(content) <= LARGE_BODY:
            return await _read_job(request, self._service, content)
        async with self._reading:
            for _ in range(FREE_TURNS):
                await asyncio.sleep(0)
            return await _read_job(request, self._service, content)


async def _read_job(request: Request, service: Service, content: bytes) -> ExplainJob:
    if (again := replay.wanted(content)) is not None:
        return await replay.build(request, service, again)
    body = service.parse(service.explain_adapter, content)
    predictor = service.catalog.get(body["model"], body.get("version"))
    request.scope["state"]["model"] = predictor.spec.name
    limit = service.settings.max_instances
    if not body.get("summary") and len(body["instances"]) > limit:
        raise TooManyInstances(f'{instances_limit(limit)}, or send "summary": true', field="instances")
    return await build_job(request, service, predictor, await predictor.read(body["instances"]), body)


def accepted(request: Request, state: JobState, headers: Mapping[str, str]) -> Response:
    where = f"{request.scope['root_path']}/explanations/{state.id}"
    return Response(state_json(state), 202, {"Location": where, **headers}, JSON)


def state_json(state: JobState) -> bytes:
    """As ExplanationState in the OpenAPI document: the body of GET /explanations/{id} and of the events."""
    shown: dict[str, Any] = {"id": state.id, "status": state.status.value, "progress": state.progress}
    if state.standard_error is not None:
        shown["standard_error"] = state.standard_error
    if state.error:
        shown["error"] = {"code": state.error.code, "detail": state.error.message}
    if state.result is not None:
        shown["result"] = orjson.Fragment(state.result)
    return orjson.dumps(shown)
