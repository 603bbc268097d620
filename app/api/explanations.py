"""POST /explain, and /explanations/{id}."""

import time
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app import errors
from app.api.documents import PROBLEMS, ExplanationState
from app.api.service import Service
from app.errors import WhyserveError
from app.jobs import ExplainJob, JobState, JobStatus, PackedArray, new_id
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


async def explain(request: Request) -> Response:
    """Predict here, have it explained there, and wait for that unless asked not to."""
    service: Service = request.app.state.service
    asked = service.read(service.explain_adapter, await request.body())
    predictor = service.catalog.get(asked["model"], asked.get("version"))
    job = new_job(predictor, asked)
    await service.queue.submit(job)
    if _prefers_async(request):
        return _accepted(await service.queue.state(job.id))
    state = await service.queue.wait(job.id, service.settings.explain_wait_s)
    if not state.status.is_final:
        return _accepted(state)
    return Response(result_of(state), media_type="application/json")


@router.get("/{id}", operation_id="getExplanation", response_model=ExplanationState)
async def show(request: Request, id: str) -> Response:
    """How far an explanation is, and its result once it is there."""
    service: Service = request.app.state.service
    return Response(_described(await service.queue.state(id)), media_type="application/json")


@router.delete("/{id}", operation_id="cancelExplanation", response_model=ExplanationState)
async def cancel(request: Request, id: str) -> Response:
    """Cancel an explanation that is not there yet."""
    service: Service = request.app.state.service
    return Response(_described(await service.queue.cancel(id)), media_type="application/json")


def new_job(predictor: Predictor, asked: dict[str, Any]) -> ExplainJob:
    """The job of a checked request: what was served goes with it. Raises InvalidInput, UnknownLabel and others."""
    method = asked.get("method", "auto")
    predictor.check_method(method)
    arrays = predictor.arrays(asked["instances"])
    table = predictor.table(arrays)
    wanted = predictor.outputs.wanted(asked.get("outputs", "top"), table)
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
        created=time.time(),
    )


def result_of(state: JobState) -> bytes:
    """The answer of a final job, or the error that it ended with."""
    if state.status is JobStatus.done and state.result is not None:
        return state.result
    if state.status is JobStatus.cancelled:
        raise errors.ExplanationCancelled("the explanation was cancelled")
    assert state.error is not None, "a failed job has its error"
    raise FROM_WORKER.get(state.error.code, errors.ExplanationFailed)(state.error.message)


def _prefers_async(request: Request) -> bool:
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return any(part.split(";")[0].strip().lower() == "respond-async" for part in preferences)


def _accepted(state: JobState) -> Response:
    return Response(_described(state), 202, {"Location": f"/explanations/{state.id}"}, "application/json")


def _described(state: JobState) -> bytes:
    described: dict[str, Any] = {"id": state.id, "status": state.status.value, "progress": state.progress}
    if state.error:
        described["error"] = {"code": state.error.code, "detail": state.error.message}
    if state.result is not None:
        described["result"] = orjson.Fragment(state.result)
    return orjson.dumps(described)
