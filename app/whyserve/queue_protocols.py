"""The queue between API and workers: the protocol of what holds the jobs, and the sides of API and worker over it.

Two stores implement the protocol: SQLite on one machine and Redis on many (whyserve.queues). The supervisor uses a
store itself.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from whyserve.errors import Unavailable
from whyserve.jobs import ExplainJob, JobError, JobMetrics, JobState, Lease, WorkerRecord, job_error

T = TypeVar("T")
# A job that was delivered so often without a result fails: it probably ends its workers.
MAX_DELIVERIES = 3
# A worker stops by itself at a job's deadline. A job without a result so many seconds later fails.
OVERDUE_S = 30.0
# A worker that has not renewed its registration for this many leases is not counted any more. It renews it three times
# per lease.
ALIVE_LEASES = 2

WORKER_LOST = job_error(
    "worker_lost", f"{MAX_DELIVERIES} workers ended while they computed this explanation; it is not tried again"
)
TIMED_OUT = job_error("explanation_timeout", "the explanation did not finish before its deadline; try again later")
# A call of the API waits so long at most: calls must not pile up while a store does not answer.
CALL_S = 15.0


class JobStore(Protocol):
    """Every method is one transaction. Methods may be called from any thread, and block.

    Every method raises Unavailable if the store cannot be reached. owner: the name of a worker.

    Delivery is at least once: a job whose lease ends goes to another worker. After MAX_DELIVERIES it fails with
    `worker_lost`. A job that no worker has taken by its deadline fails with `explanation_timeout`.
    """

    @property
    def calls_at_once(self) -> int:
        """How many calls of one process can be made at the same time; more would wait for each other."""

    # -- the API's side ----------------------------------------------------------------------------

    def submit(self, job: ExplainJob) -> str:
        """Accept a job and return its id. Once this returns, the job survives the end of any process.

        If another job has the same `idempotency_key`, the new job is dropped and the other job's id is returned.
        The oldest final jobs are deleted if the store has no room for the job and its expected answer.
        Raises QueueFull, AnswerTooLarge, and IdempotencyKeyReused if that other job has another request_hash.
        """

    def state(self, job_id: str) -> JobState:
        """The job's state now. Raises UnknownExplanation."""

    def job(self, job_id: str) -> ExplainJob:
        """The job as submitted, for as long as its state is kept. Raises UnknownExplanation."""

    def cancel(self, job_id: str) -> None:
        """Cancel a job that is not final; a running job stops at its next chunk."""

    def depth(self) -> int:
        """The number of accepted jobs that are not final."""

    def workers(self) -> list[WorkerRecord]:
        """Workers that are ready now."""

    def job_metrics(self) -> list[JobMetrics]:
        """Metrics of jobs that finished since the last call of any process. Each is returned once."""

    # -- the worker's side ---------------------------------------------------------------------------

    def announce(self, owner: str, digests: Sequence[str]) -> None:
        """Register a worker with the digests of its manifests."""

    def take(self, owner: str, digests: Sequence[str], limit: int, beside: bool = False) -> list[Lease]:
        """Lease up to `limit` waiting jobs of these manifests, with one batch key.

        The order is fair: each caller gets the same counted work, and a caller's oldest job is first.
        beside: only jobs that may run beside another computation, neither heavy nor returned by a lost worker.
        """

    def adopt(self, owner: str, job: ExplainJob) -> Lease:
        """Accept a job that is computed already, with its lease. Raises QueueFull, AnswerTooLarge."""

    def finish(
        self, owner: str, lease: Lease, result: bytes | None, error: JobError | None, metrics: JobMetrics | None = None
    ) -> bool:
        """Record a result and its metrics, or why there is none. Returns False, and records nothing, if the lease is no
        longer valid.

        The oldest final jobs are deleted if the store has no room. Raises AnswerTooLarge if there is no room even then.
        """

    def report(self, owner: str, leases: Sequence[Lease], progress: float, error: float | None) -> list[bool]:
        """Record progress (0 to 1) and renew the leases. Returns for each lease whether it is still valid.

        error: for sampled methods, the mean standard error divided by the mean |attribution|, so far.
        """

    def renew(self, owner: str) -> bool:
        """Renew all leases of a worker, and its registration. Returns whether it is registered."""

    # -- the supervisor's side -------------------------------------------------------------------------

    def release(self, owner: str) -> None:
        """Return all jobs of a worker that stops or has ended to the queue."""

    def release_all(self) -> None:
        """Return the jobs of all workers to the queue. Called only when no worker of this machine runs."""

    def close(self) -> None: ...


class JobQueue:
    """The API's side. The methods are those of JobStore. They may be called on the event loop and never block it."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        # A store waits for the disk or the network.
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
        """Raises UnknownExplanation."""
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


class JobSource:
    """A worker's side. The methods are those of JobStore. Called from the worker's threads; they block."""

    def __init__(self, store: JobStore, owner: str) -> None:
        self._store, self._owner = store, owner
        self._digests: Sequence[str] = ()

    def announce(self, digests: Sequence[str]) -> None:
        """From now on the worker gets jobs of these manifests only."""
        self._store.announce(self._owner, digests)
        self._digests = digests

    def take(self, limit: int, *, beside: bool = False) -> list[Lease]:
        return self._store.take(self._owner, self._digests, limit, beside)

    def adopt(self, job: ExplainJob) -> Lease:
        return self._store.adopt(self._owner, job)

    def finish(self, lease: Lease, result: bytes, metrics: JobMetrics | None = None) -> bool:
        return self._store.finish(self._owner, lease, result, None, metrics)

    def fail(self, lease: Lease, error: JobError) -> bool:
        return self._store.finish(self._owner, lease, None, error)

    def report(self, leases: Sequence[Lease], progress: float, error: float | None = None) -> list[bool]:
        return self._store.report(self._owner, leases, progress, error)

    def renew(self) -> None:
        """Called from its own thread during a computation."""
        if not self._store.renew(self._owner) and self._digests:  # the store has lost its data
            self._store.announce(self._owner, self._digests)

    def close(self) -> None:
        """Return unfinished jobs to the queue."""
        try:
            self._store.release(self._owner)
        finally:
            self._store.close()
