"""The embedded queue, the API's side: SQLite holds the jobs, and a Unix socket wakes the API when one changes."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from whyserve.jobs import ExplainJob, JobMetrics, JobState, WorkerRecord, new_id
from whyserve.queues.store import Store
from whyserve.queues.waiters import Waiters
from whyserve.queues.wakeup import API, Wakeup

T = TypeVar("T")


class EmbeddedQueue:
    """A JobQueue."""

    def __init__(self, state: Path, store: Store) -> None:
        self._store = store
        self._wakeup = Wakeup(state, API, f"{os.getpid()}-{new_id()[:8]}")
        # SQLite waits for the disk. One thread of its own keeps the event loop free and the calls in order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="queue")
        self._waiters = Waiters()
        self._listening: asyncio.AbstractEventLoop | None = None

    async def _call(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def submit(self, job: ExplainJob) -> str:
        return await self._call(self._submit, job)

    def _submit(self, job: ExplainJob) -> str:
        accepted = self._store.submit(job)
        self._wakeup.ring(job.id)
        return accepted

    async def wait(self, job_id: str, timeout_s: float) -> JobState:
        self._listen()
        return await self._waiters.wait(job_id, self.state, timeout_s)

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        if self._listening is not loop:
            self._listening = loop
            loop.add_reader(self._wakeup.fileno(), self._wake)

    def _wake(self) -> None:
        for job_id in self._wakeup.drain():
            self._waiters.wake(job_id)

    async def state(self, job_id: str) -> JobState:
        return await self._call(self._store.state, job_id)

    async def job(self, job_id: str) -> ExplainJob:
        return await self._call(self._store.job, job_id)

    async def cancel(self, job_id: str) -> JobState:
        await self._call(self._store.cancel, job_id)
        self._waiters.wake(job_id)
        return await self.state(job_id)

    async def depth(self) -> int:
        return await self._call(self._store.depth)

    async def workers(self) -> list[WorkerRecord]:
        return await self._call(self._store.workers)

    async def job_metrics(self) -> list[JobMetrics]:
        return await self._call(self._store.job_metrics)

    async def close(self) -> None:
        if self._listening:
            self._listening.remove_reader(self._wakeup.fileno())
        self._wakeup.close()
        self._thread.shutdown()
        self._store.close()
