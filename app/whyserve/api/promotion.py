"""Promotion: a job that is computed directly enters the queue without being restarted.

The API holds the job's lease, renews it, and records the result when it arrives. If the API ends, the lease ends too,
and a worker computes the job again.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from whyserve.delivery.dispatcher import Dispatcher
from whyserve.delivery.frames import Reply
from whyserve.delivery.ticket import Ticket
from whyserve.errors import AnswerTooLarge, Unavailable
from whyserve.jobs import JobMetrics, Lease, job_error
from whyserve.queue_protocols import JobSource

T = TypeVar("T")
# The last part of drain_s, in which jobs that callers still wait for are promoted and may finish.
LAST_SHARE = 0.2
# How often the progress is recorded, and a cancellation is noticed.
REPORT_S = 0.2
RETRY_S = 0.5


class Promoted:
    """The jobs of one API that were promoted and are not final."""

    def __init__(self, direct: Dispatcher, open_source: Callable[[], JobSource]) -> None:
        """open_source: opens the worker's side of the queue. It is called at the first promotion."""
        self._direct, self._open_source = direct, open_source
        self._source: JobSource | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="promoted")
        self._tasks: set[asyncio.Task[None]] = set()

    async def _call(self, function: Callable[[JobSource], T]) -> T:
        def call() -> T:
            if self._source is None:
                self._source = self._open_source()
            return function(self._source)

        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def add(self, ticket: Ticket) -> None:
        """Promote a job that a worker has. Raises QueueFull, Unavailable."""
        lease = await self._call(lambda source: source.adopt(ticket.job))
        task = asyncio.create_task(self._follow(ticket, lease))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, ticket: Ticket, lease: Lease) -> None:
        while not await ticket.within(REPORT_S):
            try:
                still_valid = await self._call(
                    lambda source: source.report([lease], ticket.progress, ticket.standard_error)
                )
            except Unavailable:
                continue  # the queue decides when the result is recorded
            if not still_valid[0]:
                self._direct.cancel(ticket)
                return
        while True:
            try:
                await self._call(lambda source: _record(source, ticket, lease))
                return
            except Unavailable:
                await asyncio.sleep(RETRY_S)

    async def close(self, patience_s: float) -> None:
        """Wait for the results, at most so long. What is not final then returns to the queue."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience_s)
        for task in self._tasks:
            task.cancel()
        if self._source is not None:
            with contextlib.suppress(Unavailable):  # then the leases end by themselves
                await self._call(lambda source: source.close())
        self._thread.shutdown()


def _record(source: JobSource, ticket: Ticket, lease: Lease) -> None:
    job, outcome = ticket.job, ticket.outcome
    assert outcome is not None, "the job is final"
    if not isinstance(outcome, Reply):
        source.fail(lease, outcome)
        return
    result = outcome.result
    metrics = JobMetrics(model=job.model, method=result.method, seconds=ticket.seconds, residual=result.residual)
    try:
        source.finish(lease, result.json, metrics)
    except AnswerTooLarge as error:
        source.fail(lease, job_error(error.code, error.message))
