"""The queue between API and workers, as three protocols: one for the API, one for workers, one for the supervisor.

Two queues implement them: SQLite on one machine and Redis on many (whyserve.queues).
"""

from collections.abc import Sequence
from typing import Protocol

from whyserve.jobs import ExplainJob, JobError, JobMetrics, JobState, Lease, WorkerRecord, job_error

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


class JobQueue(Protocol):
    """The API's side. Every method may be called on the event loop and never blocks it.

    A job that no worker has taken by its deadline fails with `explanation_timeout`.
    Every method raises Unavailable if the queue's store cannot be reached.
    """

    async def submit(self, job: ExplainJob) -> str:
        """Accept a job and return its id. Once this returns, the job survives the end of any process.

        If another job has the same `idempotency_key`, the new job is dropped and the other job's id is returned.
        The oldest final jobs are deleted if the queue has no room for the job and its expected answer.
        Raises QueueFull, AnswerTooLarge, and IdempotencyKeyReused if that other job has another request_hash.
        """
        ...

    async def state(self, job_id: str) -> JobState:
        """The job's state now. Raises UnknownExplanation."""
        ...

    async def job(self, job_id: str) -> ExplainJob:
        """The job as submitted, for as long as its state is kept. Raises UnknownExplanation."""
        ...

    async def cancel(self, job_id: str) -> JobState:
        """Cancel a job that is not final; a running job stops at its next chunk. Raises UnknownExplanation."""
        ...

    async def depth(self) -> int:
        """The number of accepted jobs that are not final."""
        ...

    async def workers(self) -> list[WorkerRecord]:
        """Workers that are ready now."""
        ...

    async def job_metrics(self) -> list[JobMetrics]:
        """Metrics of jobs that finished since the last call of any process. Each is returned once."""
        ...

    async def close(self) -> None: ...


class JobSource(Protocol):
    """The worker's side. Called from the worker's threads; methods block.

    Delivery is at least once: a job whose lease ends goes to another worker. After MAX_DELIVERIES it fails
    with `worker_lost`. Every method raises Unavailable if the queue's store cannot be reached.
    """

    def announce(self, digests: Sequence[str]) -> None:
        """Register this worker with the digests of its manifests. From now on it gets jobs of these manifests only."""
        ...

    def take(self, limit: int, *, beside: bool = False) -> list[Lease]:
        """Lease up to `limit` waiting jobs with one batch key.

        The order is fair: each caller gets the same counted work, and a caller's oldest job is first.
        beside: only jobs that may run beside another computation, neither heavy nor returned by a lost worker.
        """
        ...

    def adopt(self, job: ExplainJob) -> Lease:
        """Accept a job that is computed already, with its lease. Raises QueueFull, AnswerTooLarge."""
        ...

    def finish(self, lease: Lease, result: bytes, metrics: JobMetrics | None = None) -> bool:
        """Record a result and its metrics. Returns False, and records nothing, if the lease is no longer valid.

        The oldest final jobs are deleted if the queue has no room. Raises AnswerTooLarge if there is no room even then.
        """
        ...

    def fail(self, lease: Lease, error: JobError) -> bool:
        """Record why there is no result. Returns False, and records nothing, if the lease is no longer valid."""
        ...

    def report(self, leases: Sequence[Lease], progress: float, error: float | None = None) -> list[bool]:
        """Record progress (0 to 1) and renew the leases. Returns for each lease whether it is still valid.

        error: for sampled methods, the mean standard error divided by the mean |attribution|, so far.
        """
        ...

    def renew(self) -> None:
        """Renew all leases of this worker. Called from its own thread during a computation."""
        ...

    def close(self) -> None:
        """Return unfinished jobs to the queue."""
        ...


class QueueAdmin(Protocol):
    """The supervisor's side. The supervisor sees that its worker ended before the worker's leases end."""

    def release(self, owner: str) -> None:
        """Return all jobs of a worker that has ended to the queue."""
        ...

    def release_all(self) -> None:
        """Return the jobs of all workers to the queue. Called only when no worker of this machine runs."""
        ...

    def workers(self) -> list[WorkerRecord]: ...

    def close(self) -> None: ...
