"""The API's side of a queue, whatever store holds the jobs."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from whyserve.errors import Unavailable
from whyserve.jobs import ExplainJob, JobMetrics, JobState, WorkerRecord
from whyserve.queues.store import Store

if TYPE_CHECKING:
    from whyserve.queues.redis_store import RedisStore

T = TypeVar("T")
# A call waits so long at most, for a thread and for the store: calls must not pile up while a store does not answer.
CALL_S = 15.0


class StoreQueue:
    """A JobQueue."""

    def __init__(self, store: "Store | RedisStore") -> None:
        self._store = store
        # A store waits for the disk or the network. Threads of its own keep the event loop free.
        self._threads = ThreadPoolExecutor(store.calls_at_once, thread_name_prefix="queue")

    async def _call(self, function: Callable[..., T], *args: object) -> T:
        running = asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
        try:
            return await asyncio.wait_for(running, CALL_S)
        except TimeoutError as error:
            raise Unavailable("the queue does not answer now; try again later", retry_after_s=1) from error

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
        self._threads.shutdown(cancel_futures=True)
        self._store.close()
