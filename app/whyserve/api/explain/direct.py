"""Direct delivery of the jobs that a caller waits for: from this process to a worker and back, without the queue."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from whyserve.api.state import Service
from whyserve.delivery.frames import Reply
from whyserve.delivery.ticket import Ticket
from whyserve.jobs import ExplainJob, JobState
from whyserve.queue_protocols import TIMED_OUT
from whyserve.telemetry.metrics import EXPLANATION_S, RESIDUAL

T = TypeVar("T")
# Most answers come sooner. Only requests that wait longer are watched for a disconnect and for the end of the service.
UNWATCHED_S = 0.05


def is_direct(job: ExplainJob) -> bool:
    """Whether a job that its caller waits for needs no queue: no result of it was promised."""
    return not job.summary and job.idempotency_key is None


async def deliver(request: Request, service: Service, job: ExplainJob, limit_s: float) -> Ticket:
    """The job's ticket, with its outcome if there is one within `limit_s` and before the service shuts down.

    Raises QueueFull, Unavailable, and ClientDisconnect if the caller closes the connection first; the job is then
    cancelled.
    """
    ticket = service.direct.submit(job)
    try:
        if not await ticket.within(min(UNWATCHED_S, limit_s)):
            await _watch(request, service, ticket, time.time() + limit_s - UNWATCHED_S)
    except BaseException:
        service.direct.cancel(ticket)
        raise
    if isinstance(ticket.outcome, Reply) and not job.drawing:
        _count(job, ticket.outcome, ticket.seconds)
    return ticket


async def _watch(request: Request, service: Service, ticket: Ticket, until: float) -> None:
    deadline = ticket.job.deadline or until
    while ticket.outcome is None and (now := time.time()) < until:
        if ticket.link is None and now >= deadline:
            # A worker that has the job ends it at the deadline by itself.
            service.direct.cancel(ticket)
            ticket.settle(TIMED_OUT)
            return
        end = min(until, deadline) if now < deadline else until
        if await first(request, service, ticket.within(end - now)) is None:
            return


def _count(job: ExplainJob, reply: Reply, seconds: float) -> None:
    EXPLANATION_S.labels(job.model, reply.result.method).observe(seconds)
    if reply.result.residual is not None:
        RESIDUAL.labels(job.model, reply.result.method).observe(reply.result.residual)


async def enqueue(service: Service, job: ExplainJob) -> str:
    """Put a job into the queue. Returns its id, or that of the job with its Idempotency-Key."""
    # Until its first wait, a request runs without a task of its own (api/server/inline.py). redis-py needs one.
    await asyncio.sleep(0)
    accepted = await service.queue.submit(job)
    service.direct.ring()
    return accepted


async def promote(service: Service, ticket: Ticket) -> JobState:
    """Hand a job without an outcome to the queue. A computation that runs goes on. Returns the job's state.

    Raises QueueFull, Unavailable; the job is then cancelled.
    """
    job = ticket.job
    try:
        if ticket.link is None:
            service.direct.cancel(ticket)
            await enqueue(service, job)
        else:
            await service.promoted.add(ticket)
    except BaseException:
        service.direct.cancel(ticket)
        raise
    return await service.queue.state(job.id)


async def first(request: Request, service: Service, waiting: Coroutine[Any, Any, T]) -> T | None:
    """What `waiting` returns; None if the service shuts down first.

    Raises ClientDisconnect if the caller closes the connection first. The request's body must have been read.
    """
    final = asyncio.create_task(waiting)
    disconnected = asyncio.ensure_future(request.receive())
    released = asyncio.create_task(service.release_waiters.wait())
    tasks: set[asyncio.Future[Any]] = {final, disconnected, released}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if final.done():
            return final.result()
        if not disconnected.done():
            return None
        raise ClientDisconnect
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
