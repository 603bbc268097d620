"""A question, the job it becomes, and its answer: what every endpoint that explains does."""

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import ClientDisconnect, Request

from whyserve import errors
from whyserve.api.schemas.headers import idempotency_key
from whyserve.api.state import Service
from whyserve.errors import WhyserveError
from whyserve.jobs import ExplainJob, GivenBackground, JobState, JobStatus, PackedArray, new_id
from whyserve.model.rows import Arrays, Row
from whyserve.model.spec import DEFAULT_BACKGROUND
from whyserve.predict.predictor import Predictor

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


@dataclass(frozen=True, slots=True)
class Explained:
    """body: the answer's JSON, as the API gives it. cache: whether it was known already."""

    body: bytes
    cache: Literal["hit", "miss"]


async def request_job(
    request: Request, service: Service, predictor: Predictor, arrays: Arrays, asked: Mapping[str, Any]
) -> ExplainJob:
    """The job of a checked request, with whose it is. Raises InvalidInput, UnknownLabel and others.

    asked: of method, outputs, samples, seed, deadline_s, background and summary, what the caller gave; and instances,
    where the rows are from these.
    """
    caller = caller_of(request)
    job = await new_job(predictor, arrays, asked, deadline_s=service.settings.explain_deadline_s)
    return job.model_copy(
        update={
            "caller": caller,
            "idempotency_key": idempotency_key(request.headers, caller),
            "request_hash": hashlib.sha256(request.url.path.encode() + await request.body()).hexdigest(),
            "request_id": request.scope["state"]["request_id"],
            "traceparent": service.spans.traceparent() if service.spans else request.scope["state"].get("traceparent"),
        }
    )


async def new_job(
    predictor: Predictor, arrays: Arrays, asked: Mapping[str, Any], deadline_s: float | None = None
) -> ExplainJob:
    """The job of checked rows: what was served goes with it.

    deadline_s: the longest it may take from now; the request may ask for less.
    """
    method, instances = asked.get("method", "auto"), asked.get("instances")
    predictor.check_method(method)
    table = await predictor.answer(arrays)
    summary = asked.get("summary", False)
    wanted = predictor.outputs.wanted(asked.get("outputs", "all" if summary else "top"), table)
    background = await _background(predictor, asked.get("background", DEFAULT_BACKGROUND))
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
        texts=await predictor.spans(instances) if instances and not summary else {},
        method=method,
        samples=asked.get("samples"),
        seed=asked.get("seed", 0),
        background=background,
        summary=summary,
        created=created,
        deadline=created + min(limits) if limits else None,
    )


async def _background(predictor: Predictor, asked: str | Sequence[Row]) -> str | GivenBackground:
    """A background by name, or of checked rows. Raises InvalidInput where a row is none that the model can answer."""
    if isinstance(asked, str):
        return asked
    arrays = predictor.arrays(asked, "background")
    await predictor.answer(arrays, "background")
    return GivenBackground.pack(arrays)


async def submit_and_wait(request: Request, service: Service, job: ExplainJob, limit_s: float) -> Explained | JobState:
    """Its answer; or how far it is, where that is not there within `limit_s`, or the service stops.

    Raises what the job ended with, and ClientDisconnect where the caller goes away first.
    """
    keys = service.cache.keys(job)
    # An Idempotency-Key names one job: what another one answered is not its answer.
    if job.idempotency_key is None and (known := service.cache.answer(keys)):
        return Explained(known, "hit")
    if service.explaining is not None:
        service.explaining.take(job.caller, background_rows(service, job) * sum(len(names) for names in job.outputs))
    accepted = await service.queue.submit(job)
    if accepted == job.id:
        service.cache.expect(accepted, keys)
    if not limit_s:
        return remember(service, await service.queue.state(accepted))
    state = await wait(request, service, accepted, limit_s)
    if state is None:
        # With an Idempotency-Key, the caller means to come back for it.
        if job.idempotency_key is None:
            remember(service, await service.queue.cancel(accepted))
        raise ClientDisconnect
    return Explained(result_of(state), "miss") if remember(service, state).status.is_final else state


def remember(service: Service, state: JobState) -> JobState:
    """Wherever a job's state is asked for: once its answer is there, it goes into the cache."""
    if state.status is JobStatus.done and state.result is not None:
        service.cache.keep(state.id, state.result)
    elif state.status.is_final:
        service.cache.forget(state.id)
    return state


def background_rows(service: Service, job: ExplainJob) -> int:
    """Rows of what a job is explained against."""
    if isinstance(job.background, GivenBackground):
        return job.background.rows
    return service.catalog.get(job.model, job.version).manifest.background(job.background)[0]


async def wait(request: Request, service: Service, job_id: str, limit_s: float) -> JobState | None:
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


def caller_of(request: Request) -> str | None:
    """The name of the key that the request came with; None where there are no keys."""
    caller: str | None = request.scope["state"].get("caller")
    return caller


def result_of(state: JobState) -> bytes:
    """The answer of a final job, or the error that it ended with."""
    if state.status is JobStatus.done and state.result is not None:
        return state.result
    if state.status is JobStatus.cancelled:
        raise errors.ExplanationCancelled("the explanation was cancelled")
    assert state.error is not None, "a failed job has its error"
    raise FROM_WORKER.get(state.error.code, errors.ExplanationFailed)(state.error.message)
