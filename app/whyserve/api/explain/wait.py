"""From a job to its answer: deliver it, wait for it, cache the result, and turn its outcome into bytes or an error."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

from starlette.requests import ClientDisconnect, Request

from whyserve import errors
from whyserve.api.explain.direct import deliver, enqueue, first, is_direct, promote
from whyserve.api.middleware.auth import caller_of
from whyserve.api.state import Service
from whyserve.delivery.frames import Reply
from whyserve.errors import ExplanationGone, StillComputing, Unavailable, UnknownExplanation, WhyserveError
from whyserve.jobs import ExplainJob, JobError, JobState, JobStatus

# Error codes of a worker that keep their class. Any other code is a fault of the service: ExplanationFailed.
WORKER_ERRORS: dict[str, type[WhyserveError]] = {
    kind.code: kind
    for kind in (
        errors.InvalidInput,
        errors.UnsupportedMethod,
        errors.TooManyPlayers,
        errors.UnsupportedNetwork,
        errors.AnswerTooLarge,
        errors.ExplanationTimeout,
        errors.WorkerLost,
    )
}
UNKNOWN_EXPLANATION = "unknown explanation; its id is wrong or its result has expired"
GONE = (
    "this explanation is not kept: its caller received it directly, newer results took its place, or the queue's file "
    "was damaged; send the same POST /explain again, for a picture with Accept: image/png"
)
# A job in the queue is looked at after the first pause; the pauses grow up to POLL_S.
FIRST_PAUSE_S, POLL_S = 0.01, 0.2
RETRY_S = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """parts: of the explanation as JSON. cache: whether it came from the cache. timing: of the header Server-Timing."""

    parts: Sequence[bytes]
    cache: Literal["hit", "miss"]
    timing: str = ""

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Cache": self.cache, **({"Server-Timing": self.timing} if self.timing else {})}


async def submit_and_wait(request: Request, service: Service, job: ExplainJob, limit_s: float) -> Answer | JobState:
    """The answer, or the job's state if there is no answer within `limit_s` or the service shuts down.

    Raises the job's error, RateLimited, QueueFull, and ClientDisconnect if the caller closes the connection first.
    """
    keys = service.cache.keys(job)
    # An Idempotency-Key identifies one job, so the answer of another job is not used.
    if job.idempotency_key is None and (cached := service.cache.answer(keys)):
        return Answer(cached, "hit")
    _charge(service, job)
    if limit_s and is_direct(job):
        return await _answer_directly(request, service, job, limit_s, keys)
    job_id = await enqueue(service, job)
    if job_id == job.id:
        service.cache.expect(job_id, keys)
    state = await _wait(request, service, job, job_id, limit_s)
    return Answer([result_of(state)], "miss") if limit_s and state.status.is_final else state


async def _answer_directly(
    request: Request, service: Service, job: ExplainJob, limit_s: float, keys: list[bytes]
) -> Answer | JobState:
    ticket = await deliver(request, service, job, limit_s)
    outcome = ticket.outcome
    if outcome is None:
        service.cache.expect(job.id, keys)
        return _cached(service, await promote(service, ticket))
    if not isinstance(outcome, Reply):
        raise _error_of(outcome)
    service.cache.put(keys, outcome.result)
    timing = f"queue;dur={1e3 * (ticket.seconds - outcome.seconds):.3f}, compute;dur={1e3 * outcome.seconds:.3f}"
    return Answer([outcome.result.json], "miss", timing)


async def complete_answer(request: Request, service: Service, job: ExplainJob) -> bytes:
    """The answer, for protocols that have no other one. Raises StillComputing if it takes too long."""
    outcome = await submit_and_wait(request, service, job, service.settings.explain_wait_s)
    if isinstance(outcome, Answer):
        note_explanation(request, outcome.body)
        return outcome.body
    raise StillComputing(
        f"the explanation is not ready yet; GET /explanations/{outcome.id} returns it later", retry_after_s=RETRY_S
    )


def note_explanation(request: Request, explanation: bytes) -> None:
    """Add an explanation to the decision of this request, because its answer has another form."""
    if (decision := request.scope["state"].get("decision")) is not None:
        decision.explanation = explanation


async def draw_and_wait(request: Request, service: Service, drawing: ExplainJob) -> bytes:
    """The result of a drawing job. Raises the job's error, and StillComputing if it takes too long."""
    _charge(service, drawing)
    ticket = await deliver(request, service, drawing, service.settings.explain_wait_s)
    if isinstance(ticket.outcome, Reply):
        return ticket.outcome.result.json
    if ticket.outcome is not None:
        raise _error_of(ticket.outcome)
    service.direct.cancel(ticket)
    raise StillComputing("the picture is not ready yet; retry later", retry_after_s=RETRY_S)


async def look_up(request: Request, service: Service, job_id: str) -> JobState:
    """The state of one of the caller's jobs. Raises UnknownExplanation, ExplanationGone."""
    try:
        state = await service.queue.state(job_id)
    except UnknownExplanation:
        if service.ids.is_recent(job_id, caller_of(request.scope)):
            raise ExplanationGone(GONE) from None
        raise UnknownExplanation(UNKNOWN_EXPLANATION) from None
    # Same error as above: a caller must not learn which ids other callers have.
    if state.caller != caller_of(request.scope):
        raise UnknownExplanation(UNKNOWN_EXPLANATION)
    return _cached(service, state)


async def cancel(request: Request, service: Service, job_id: str) -> JobState:
    """Cancel one of the caller's jobs. Raises UnknownExplanation, ExplanationGone."""
    await look_up(request, service, job_id)
    return _cached(service, await service.queue.cancel(job_id))


async def follow(service: Service, state: JobState) -> AsyncIterator[JobState]:
    """The job's state every POLL_S seconds, until it is final, unknown, or the service shuts down."""
    while not state.status.is_final and not service.release_waiters.is_set():
        yield state
        try:
            await asyncio.sleep(POLL_S)
            state = _cached(service, await service.queue.state(state.id))
        except (Unavailable, UnknownExplanation):
            return
    if state.status.is_final:
        yield state


def result_of(state: JobState) -> bytes:
    """The result of a final job. Raises the error of a failed one, and ExplanationCancelled."""
    if state.status is JobStatus.done and state.result is not None:
        return state.result
    if state.status is JobStatus.cancelled:
        raise errors.ExplanationCancelled("the explanation was cancelled; send the request again to compute it")
    assert state.error is not None, "a failed job has its error"
    raise _error_of(state.error)


def _error_of(error: JobError) -> WhyserveError:
    return WORKER_ERRORS.get(error.code, errors.ExplanationFailed)(error.message)


def _charge(service: Service, job: ExplainJob) -> None:
    """Raises RateLimited."""
    if service.explain_rate_limit is not None:
        service.explain_rate_limit.take(job.caller, job.cost)


async def _wait(request: Request, service: Service, job: ExplainJob, job_id: str, limit_s: float) -> JobState:
    """The job's state when it is final, the time is over or the service shuts down.

    Raises ClientDisconnect if the caller closes the connection first. The job is then cancelled, unless the request
    has an Idempotency-Key, which means that the caller may fetch the result later.
    """
    if not limit_s:
        return _cached(service, await service.queue.state(job_id))
    try:
        state = await first(request, service, _final(service, job_id, limit_s))
    except ClientDisconnect:
        if job.idempotency_key is None:
            _cached(service, await service.queue.cancel(job_id))
        raise
    return _cached(service, state or await service.queue.state(job_id))


async def _final(service: Service, job_id: str, limit_s: float) -> JobState:
    """The job's state when it is final, or after `limit_s`."""
    end, pause_s = time.monotonic() + limit_s, FIRST_PAUSE_S
    while not (state := await service.queue.state(job_id)).status.is_final:
        left_s = end - time.monotonic()
        if left_s <= 0:
            break
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, POLL_S)
    return state


def _cached(service: Service, state: JobState) -> JobState:
    """The same state. Every state that the API sees passes here, so that each result enters the cache once."""
    if state.status is JobStatus.done and state.result is not None:
        service.cache.keep(state.id, state.result)
    elif state.status.is_final:
        service.cache.forget(state.id)
    return state
