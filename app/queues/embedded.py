"""The queue of one machine: SQLite holds the jobs, Unix sockets wake who waits. No server to install."""

import asyncio
import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from app.errors import ConfigurationError, Unavailable
from app.jobs import ExplainJob, JobError, JobState, Lease, WorkerRecord, new_id
from app.queues.store import Store
from app.queues.wakeup import API, WORKER, Bell

T = TypeVar("T")
# A wake-up can be lost, with its sender or in a full socket: who waits looks again after this long.
LOOK_AGAIN_S = 1.0


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
        self._bell = Bell(state, API, f"{os.getpid()}-{new_id()[:8]}")
        # SQLite waits for the disk; one thread keeps that off the event loop, and its calls in order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="queue")
        self._waiters: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._listening: asyncio.AbstractEventLoop | None = None

    async def _call(self, function: Callable[..., T], *args: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
        except sqlite3.Error as error:
            raise Unavailable(f"the queue cannot be used now: {error}", retry_after_s=1) from error

    async def submit(self, job: ExplainJob) -> None:
        await self._call(self._submit, job)

    def _submit(self, job: ExplainJob) -> None:
        self._store.submit(job)
        self._bell.ring(job.id)

    async def wait(self, job_id: str, timeout_s: float) -> JobState:
        self._listen()
        deadline = time.monotonic() + timeout_s
        changed = asyncio.Event()
        self._waiters[job_id].add(changed)
        try:
            while True:
                # Cleared before the look: a change after it sets the event again.
                changed.clear()
                state = await self._call(self._store.state, job_id)
                left = deadline - time.monotonic()
                if state.status.is_final or left <= 0:
                    return state
                try:
                    async with asyncio.timeout(min(left, LOOK_AGAIN_S)):
                        await changed.wait()
                except TimeoutError:
                    pass
        finally:
            self._waiters[job_id].discard(changed)
            if not self._waiters[job_id]:
                del self._waiters[job_id]

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        if self._listening is not loop:
            self._listening = loop
            loop.add_reader(self._bell.fileno(), self._wake)

    def _wake(self) -> None:
        for job_id in self._bell.drain():
            self._wake_waiters(job_id)

    async def state(self, job_id: str) -> JobState:
        return await self._call(self._store.state, job_id)

    async def cancel(self, job_id: str) -> JobState:
        await self._call(self._store.cancel, job_id)
        self._wake_waiters(job_id)
        return await self.state(job_id)

    def _wake_waiters(self, job_id: str) -> None:
        for changed in self._waiters.get(job_id, ()):
            changed.set()

    async def depth(self) -> int:
        return await self._call(self._store.depth)

    async def workers(self) -> list[WorkerRecord]:
        return await self._call(self._store.workers)

    async def close(self) -> None:
        if self._listening:
            self._listening.remove_reader(self._bell.fileno())
        self._bell.close()
        self._thread.shutdown()
        self._store.close()


class EmbeddedSource:
    """The worker's side: a JobSource."""

    def __init__(self, state: Path, store: Store, owner: str) -> None:
        self._store, self._owner = store, owner
        self._bell = Bell(state, WORKER, owner)

    def announce(self, digests: dict[str, str]) -> None:
        self._store.announce(self._owner, digests)

    def take(self, limit: int, timeout_s: float) -> list[Lease]:
        deadline = time.monotonic() + timeout_s
        while not (leases := self._store.take(self._owner, limit)):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._bell.wait(min(left, LOOK_AGAIN_S))
        return leases

    def finish(self, lease: Lease, result: bytes) -> bool:
        recorded = self._store.finish(self._owner, lease, result, None)
        self._bell.ring(lease.job.id)
        return recorded

    def fail(self, lease: Lease, error: JobError) -> bool:
        recorded = self._store.finish(self._owner, lease, None, error)
        self._bell.ring(lease.job.id)
        return recorded

    def report(self, leases: Sequence[Lease], progress: float) -> list[bool]:
        return self._store.report(self._owner, leases, progress)

    def renew(self) -> None:
        self._store.renew(self._owner)

    def close(self) -> None:
        self._store.release(self._owner)
        self._bell.close()
        self._store.close()
