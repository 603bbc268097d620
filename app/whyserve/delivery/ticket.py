"""A job in direct delivery, from its submission to its outcome."""

import asyncio
import time
from typing import TYPE_CHECKING

from whyserve.delivery.frames import Reply
from whyserve.jobs import ExplainJob, JobError

if TYPE_CHECKING:
    from whyserve.delivery.dispatcher import WorkerLink


class Ticket:
    """attempt: the number of times that the job was sent. tries: the attempts that count for MAX_DELIVERIES.

    link: the worker that has the job now; None while the job waits.
    started: the last attempt is known to be in computation.
    progress, standard_error: as in JobState.
    outcome: None until the job is final. seconds: from the submission to the outcome.
    """

    __slots__ = (
        "_submitted", "_waiter", "attempt", "job", "link", "outcome", "place", "progress", "seconds", "standard_error",
        "started", "tries",
    )  # fmt: skip

    def __init__(self, job: ExplainJob) -> None:
        self.job = job
        self.attempt = self.tries = self.place = 0
        self.link: WorkerLink | None = None
        self.started = False
        self.progress = 0.0
        self.standard_error: float | None = None
        self.outcome: Reply | JobError | None = None
        self._submitted, self.seconds = time.perf_counter(), 0.0
        self._waiter: asyncio.Future[None] | None = None

    def settle(self, outcome: Reply | JobError) -> None:
        self.outcome, self.link = outcome, None
        self.seconds = time.perf_counter() - self._submitted
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def within(self, seconds: float) -> bool:
        """Wait for the outcome, at most so long. One task at a time may wait. Returns whether there is an outcome."""
        if self.outcome is None:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(seconds, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
        return self.outcome is not None
