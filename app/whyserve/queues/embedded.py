"""The queue of one machine: SQLite holds the jobs, Unix sockets wake who waits. No server to install."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from whyserve.errors import ConfigurationError, Unavailable
from whyserve.jobs import ExplainJob, JobError, JobMetrics, JobState, Lease, WorkerRecord, new_id
from whyserve.queues.store import Store
from whyserve.queues.waiters import LOOK_AGAIN_S, Waiters
from whyserve.queues.wakeup import API, WORKER, Wakeup

T = TypeVar("T")


def open_store(state: Path, *, depth: int, keep_s: float, lease_s: float) -> Store:
    """Open the queue in `state`, made if need be. Raises ConfigurationError."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Store(state / "queue.sqlite3", depth=depth, keep_s=keep_s, lease_s=lease_s)
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(f"WHYSERVE_STATE: no queue can be kept in {state}: {error}") from error


class EmbeddedQueue:
    """The API's side: a JobQueue."""

    def __init__(self, state: Path, store: Store) -> None:
        self._store = store
        self._wakeup = Wakeup(state, API, f"{os.getpid()}-{new_id()[:8]}")
        # SQLite waits for the disk; one thread keeps that off the event loop, and its calls in order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="queue")
        self._waiters = Waiters()
        self._listening: asyncio.AbstractEventLoop | None = None

    async def _call(self, function: Callable[..., T], *args: object) -> T:
        with _as_unavailable():
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


class EmbeddedSource:
    """The worker's side: a JobSource."""

    def __init__(self, state: Path, store: Store, owner: str) -> None:
        self._store, self._owner = store, owner
        self._wakeup = Wakeup(state, WORKER, owner)
        self._digests: Sequence[str] = ()

    def announce(self, digests: Sequence[str]) -> None:
        with _as_unavailable():
            self._store.announce(self._owner, digests)
        self._digests = digests

    def take(self, limit: int, timeout_s: float, *, summaries: bool = True) -> list[Lease]:
        with _as_unavailable():
            return self._take(limit, timeout_s, summaries)

    def _take(self, limit: int, timeout_s: float, summaries: bool) -> list[Lease]:
        deadline = time.monotonic() + timeout_s
        while not (leases := self._store.take(self._owner, self._digests, limit, summaries)):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._wakeup.wait(min(left, LOOK_AGAIN_S))
        return leases

    def finish(self, lease: Lease, result: bytes, metrics: JobMetrics | None = None) -> bool:
        return self._finish(lease, result, None, metrics)

    def fail(self, lease: Lease, error: JobError) -> bool:
        return self._finish(lease, None, error)

    def _finish(
        self, lease: Lease, result: bytes | None, error: JobError | None, metrics: JobMetrics | None = None
    ) -> bool:
        with _as_unavailable():
            recorded = self._store.finish(self._owner, lease, result, error, metrics)
        self._wakeup.ring(lease.job.id)
        return recorded

    def report(self, leases: Sequence[Lease], progress: float, error: float | None = None) -> list[bool]:
        with _as_unavailable():
            return self._store.report(self._owner, leases, progress, error)

    def renew(self) -> None:
        with _as_unavailable():
            self._store.renew(self._owner)

    def close(self) -> None:
        self._wakeup.close()
        try:
            with _as_unavailable():
                self._store.release(self._owner)
        finally:
            self._store.close()


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"the queue cannot be used now: {error}", retry_after_s=1) from error
