"""The embedded queue, the API's side: SQLite holds the jobs."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from whyserve.jobs import ExplainJob, JobMetrics, JobState, WorkerRecord
from whyserve.queues.store import Store

T = TypeVar("T")


class EmbeddedQueue:
    """A JobQueue."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # SQLite waits for the disk. One thread of its own keeps the event loop free and the calls in order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="queue")

    async def _call(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def submit(self, job: ExplainJob) -> str:
        return await self._call(self._store.submit, job)

    async def state(self, job_id: str) -> JobState:
        return await self._call(self._store.state, job_id)

    async def job(self, job_id: str) -> ExplainJob:
        return await self._call(self._store.job, job_id)

    async def cancel(self, job_id: str) -> JobState:
        await self._call(self._store.cancel, job_id)
        return await self.state(job_id)

    async def depth(self) -> int:
        return await self._call(self._store.depth)

    async def workers(self) -> list[WorkerRecord]:
        return await self._call(self._store.workers)

    async def job_metrics(self) -> list[JobMetrics]:
        return await self._call(self._store.job_metrics)

    async def close(self) -> None:
        self._thread.shutdown()
        self._store.close()
