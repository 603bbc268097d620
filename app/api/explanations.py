"""POST /explain, and /explanations/{id}."""

import asyncio
import hashlib
import time
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app import errors
from app.api.documents import PROBLEMS, ExplanationState
from app.api.preferences import once, prefers_async, wait_s
from app.api.service import Service
from app.errors import UnknownExplanation, WhyserveError
from app.jobs import ExplainJob, JobState, JobStatus, PackedArray, new_id
from app.metrics import EXPLANATION_S, RESIDUAL
from app.predict.predictor import Predictor

router = APIRouter(prefix="/explanations", tags=["explain"], responses=PROBLEMS)

# What a worker says went wrong, as the error it is; another code is the service's own failure.
FROM_WORKER: dict[str, type[WhyserveError]] = {
    kind.code: kind
    for kind in (
        errors.InvalidInput,
        errors.UnsupportedMethod,
        errors.TooManyPlayers,
        errors.UnsupportedNetwork,
        errors.ExplanationTimeout,
        errors.WorkerLost,
    )
}
# Nobody reads it: the caller has gone. It is for the log and the metrics.
CLIENT_GONE = 499


async def explain(request: Request) -> Response:
    """Predict here, have it explained there, and wait for that unless asked not to."""
    service: Service = request.app.state.service
    body = await request.body()
    asked = service.read(service.explain_adapter, body)
    predictor = service.catalog.get(asked["model"], asked.get("version"))
    request.scope["state"]["model"] = predictor.spec.name
    caller = caller_of(request)
    job = new_job(predictor, asked, deadline_s=service.settings.explain_deadline_s).model_copy(
        update={
            "caller": caller,
            "once": once(request.headers, caller),
            "question": hashlib.sha256(body).hexdigest(),
            "request_id": request.scope["state"]["request_id"],
            "traceparent": request.scope["state"].get("traceparent"),
        }
    )
    if known := service.cache.answer(job):
        return _answered(known, "hit")
    accepted = await service.queue.submit(job)
    if prefers_async(request.headers):
        return _accepted(await service.queue.state(accepted), {"Preference-Applied": "respond-async"})
    limit = wait_s(request.headers, service.settings.explain_wait_s)
    state = await _wait(request, service, accepted, limit)
    if state is None:
        # With an Idempotency-Key, the caller means to come back for it.
        if job.once is None:
            await service.queue.cancel(accepted)
        return Response(status_code=CLIENT_GONE)
    if not state.status.is_final:
        return _accepted(state)
    answer = result_of(state)
    if accepted == job.id:
        service.cache.keep(job, answer)
        observe(predictor.spec.name, answer, time.time() - job.created)
    return _answered(answer, "miss")


async def _wait(request: Request, service: Service, job_id: str, limit_s: float) -> JobState | None:
    """The job's state once it is final, the time is over or the service stops; None where the caller goes away."""
    waiting = asyncio.create_task(service.queue.wait(job_id, limit_s))
    gone = asyncio.ensure_future(request.receive())  # after the body, all that can come is the end
    hurried = asyncio.create_task(service.hurry.wait())
    tasks: set[asyncio.Future[Any]] = {waiting, gone, hurried}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        return None if gone.done() else await service.queue.state(job_id)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@router.get("/{id}", operation_id="getExplanation", response_model=ExplanationState)
async def show(request: Request, id: str) -> Response:
    """How far an explanation is, and its result once it is there."""
    service: Service = request.app.state.service
    return Response(described(await own(service, request, id)), media_type="application/json")


@router.delete("/{id}", operation_id="cancelExplanation", response_model=ExplanationState)
async def cancel(request: Request, id: str) -> Response:
    """Cancel an explanation that is not there yet."""
    service: Service = request.app.state.service
    await own(service, request, id)
    return Response(described(await service.queue.cancel(id)), media_type="application/json")


def caller_of(request: Request) -> str | None:
    """The name of the key that the request came with; None where there are no keys."""
    caller: str | None = request.scope["state"].get("caller")
    return caller


async def own(service: Service, request: Request, job_id: str) -> JobState:
    """The state of the caller's own job. Raises UnknownExplanation, also where it is another's."""
    state = await service.queue.state(job_id)
    if state.caller != caller_of(request):
        raise UnknownExplanation("no explanation has this id, or its result is no longer kept")
    return state


def new_job(predictor: Predictor, asked: dict[str, Any], deadline_s: float | None = None) -> ExplainJob:
    """The job of a checked request: what was served goes with it. Raises InvalidInput, UnknownLabel and others.

    deadline_s: the longest it may take from now; the request may ask for less.
    """
    method = asked.get("method", "auto")
    predictor.check_method(method)
    arrays = predictor.arrays(asked["instances"])
    table = predictor.table(arrays)
    wanted = predictor.outputs.wanted(asked.get("outputs", "top"), table)
    limits = [seconds for seconds in (deadline_s, asked.get("deadline_s")) if seconds is not None]
    created = time.time()
    return ExplainJob(
        id=new_id(),
        model=predictor.spec.name,
        version=predictor.spec.version,
        digest=predictor.digest,
        rows={name: PackedArray.pack(array) for name, array in arrays.items()},
        served=PackedArray.pack(table),
        outputs=[[output.name for output in outputs] for outputs in wanted],
        method=method,
        samples=asked.get("samples"),
        seed=asked.get("seed", 0),
        created=created,
        deadline=created + min(limits) if limits else None,
    )


def result_of(state: JobState) -> bytes:
    """The answer of a final job, or the error that it ended with."""
    if state.status is JobStatus.done and state.result is not None:
        return state.result
    if state.status is JobStatus.cancelled:
        raise errors.ExplanationCancelled("the explanation was cancelled")
    assert state.error is not None, "a failed job has its error"
    raise FROM_WORKER.get(state.error.code, errors.ExplanationFailed)(state.error.message)


def observe(model: str, answer: bytes, seconds: float) -> None:
    """Note how long an explanation took, and how well it adds up."""
    body = orjson.loads(answer)
    outputs = [output for explanation in body["explanations"] for output in explanation["outputs"]]
    scale = max(abs(output["value"] - output["base_value"]) for output in outputs)
    residual = max(abs(output["residual"]) for output in outputs)
    EXPLANATION_S.labels(model, body["method"]).observe(seconds)
    RESIDUAL.labels(model, body["method"]).observe(residual / scale if scale else residual)


def _answered(answer: bytes, cache: str) -> Response:
    return Response(answer, headers={"X-Cache": cache}, media_type="application/json")


def _accepted(state: JobState, headers: dict[str, str] | None = None) -> Response:
    location = {"Location": f"/explanations/{state.id}", **(headers or {})}
    return Response(described(state), 202, location, "application/json")


def described(state: JobState) -> bytes:
    """A job's state as JSON."""
    shown: dict[str, Any] = {"id": state.id, "status": state.status.value, "progress": state.progress}
    if state.error:
        shown["error"] = {"code": state.error.code, "detail": state.error.message}
    if state.result is not None:
        shown["result"] = orjson.Fragment(state.result)
    return orjson.dumps(shown)
