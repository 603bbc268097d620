"""What API and worker say to each other: jobs, results, and the queue between them. JSON on every wire."""

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from whyserve.model.spec import DEFAULT_BACKGROUND
from whyserve.model.text import TokenSpans

# A job that took so many workers with it is taken for the cause.
MAX_DELIVERIES = 3
# A worker stops at a deadline by itself; one that has not after so many seconds never will.
OVERDUE_S = 30.0
# Ends the batch key of a summary. A worker that computes a summary takes other jobs between its chunks, but no second
# summary.
SUMMARY_KEY = "/summary"


class JobStatus(StrEnum):
    queued = "queued"  # accepted, and safe on disk
    running = "running"  # leased by a worker
    done = "done"  # its result is there
    failed = "failed"  # its error is there
    cancelled = "cancelled"  # by its caller; nothing will be computed

    @property
    def is_final(self) -> bool:
        return self in {JobStatus.done, JobStatus.failed, JobStatus.cancelled}


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PackedArray(_Message):
    """An array, to the bit: little-endian, row-major, base64."""

    dtype: str
    shape: tuple[int, ...]
    data: str

    @classmethod
    def pack(cls, array: np.ndarray) -> Self:
        plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        return cls(dtype=array.dtype.name, shape=array.shape, data=base64.b64encode(plain.tobytes()).decode())

    def unpack(self) -> np.ndarray:
        dtype = np.dtype(self.dtype).newbyteorder("<")
        flat = np.frombuffer(base64.b64decode(self.data), dtype=dtype)
        return flat.reshape(self.shape).astype(self.dtype)  # a copy: what comes from a buffer is read-only


class GivenBackground(_Message):
    """A background that came with a request. arrays: by input, (rows, *shape). sha256: of all that they hold."""

    arrays: dict[str, PackedArray]
    sha256: str

    @classmethod
    def pack(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        packed = {name: PackedArray.pack(arrays[name]) for name in sorted(arrays)}
        said = [(name, each.dtype, each.shape, each.data) for name, each in packed.items()]
        return cls(arrays=packed, sha256=hashlib.sha256(repr(said).encode()).hexdigest())

    @property
    def rows(self) -> int:
        return next(iter(self.arrays.values())).shape[0]


class Drawing(_Message):
    """What makes a job one of drawing: its answer, known already and of one row and output, as a picture."""

    kind: Literal["svg", "png"]
    answer: str


class ExplainJob(_Message):
    """One request to explain, or to draw an explanation.

    digest: of the manifest that predicted; the worker explains with no other manifest.
    rows: by input, (rows, *shape).
    served: (rows, columns), what ONNX Runtime answered.
    outputs: the names of the outputs to explain, one list per row.
    texts: by input that was sent as text, the position of each row's tokens in the text.
    background: the name of one of the model's backgrounds, or rows.
    summary: one summary of all rows instead of one explanation per row.
    created, deadline: seconds since the epoch.
    caller: the owner; no other caller can read the job.
    idempotency_key, request_hash: jobs with the same key are one job, if their request_hash is equal too.
    traceparent: W3C trace context.
    """

    id: str
    model: str
    version: int
    digest: str
    rows: dict[str, PackedArray]
    served: PackedArray
    outputs: list[list[str]]
    texts: dict[str, tuple[TokenSpans, ...]] = {}
    method: str = "auto"
    samples: int | None = None
    seed: int = 0
    background: str | GivenBackground = DEFAULT_BACKGROUND
    summary: bool = False
    drawing: Drawing | None = None
    created: float
    deadline: float | None = None
    request_id: str | None = None
    traceparent: str | None = None
    caller: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None

    @property
    def batch_key(self) -> str:
        """Jobs with one batch key may be computed together."""
        if self.drawing:
            return f"{self.digest}/drawing"
        against = "" if self.background == DEFAULT_BACKGROUND else f"/{self.background_key}"
        return f"{self.digest}/{self.method}{against}{SUMMARY_KEY if self.summary else ''}"

    @property
    def background_key(self) -> str:
        """Tells one background of a model from its others."""
        return self.background if isinstance(self.background, str) else f"sha256:{self.background.sha256}"


class JobError(_Message):
    """Why there is no result: a stable code, and words for people."""

    code: str
    message: str


class JobMetrics(_Message):
    """What one explanation took, for Prometheus. seconds: from its request to its result.

    residual: the largest |residual| of it, over the largest |value − base value|; None of a summary.
    """

    model: str
    method: str
    seconds: float
    residual: float | None = None


@dataclass(frozen=True, slots=True)
class JobState:
    """What is known of a job. result: the answer's JSON, as the API gives it.

    standard_error: of what is sampled, over the mean |attribution| so far.
    """

    id: str
    status: JobStatus
    progress: float = 0.0
    result: bytes | None = None
    error: JobError | None = None
    caller: str | None = None
    standard_error: float | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """A job in a worker's hands. fence: grows with each delivery; a result under an older one is refused."""

    job: ExplainJob
    fence: int


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker that is ready, and the manifests it explains with."""

    owner: str
    digests: frozenset[str]


class JobQueue(Protocol):
    """The API's side. Every call is safe from the event loop, and never blocks it.

    A job past its deadline that no worker has taken fails with `explanation_timeout`. Raises Unavailable wherever
    the queue's store cannot be asked.
    """

    async def submit(self, job: ExplainJob) -> str:
        """Accept a job and give its id: once this returns, the job survives any process.

        A job with a known `idempotency_key` is not accepted again: the id of the first one is returned.
        Raises QueueFull, and IdempotencyKeyReused if the first job has another request_hash.
        """
        ...

    async def wait(self, job_id: str, timeout_s: float) -> JobState:
        """The job's state once it is final, or when the time is over. Raises UnknownExplanation."""
        ...

    async def state(self, job_id: str) -> JobState:
        """Raises UnknownExplanation."""
        ...

    async def job(self, job_id: str) -> ExplainJob:
        """The job itself, for as long as its state is known. Raises UnknownExplanation."""
        ...

    async def cancel(self, job_id: str) -> JobState:
        """Cancel unless final already; a running job stops at its next chunk. Raises UnknownExplanation."""
        ...

    async def depth(self) -> int:
        """Jobs accepted and not yet final."""
        ...

    async def workers(self) -> list[WorkerRecord]:
        """Workers that are ready now."""
        ...

    async def job_metrics(self) -> list[JobMetrics]:
        """Of what has been explained since anybody asked, in whatever process: each is given once."""
        ...

    async def close(self) -> None: ...


class JobSource(Protocol):
    """The worker's side; called from the worker's threads, and blocks.

    Delivery is at least once: a job whose lease ends goes to another worker, and after MAX_DELIVERIES it fails
    with `worker_lost`. Raises Unavailable wherever the queue's store cannot be asked.
    """

    def announce(self, digests: Sequence[str]) -> None:
        """Say that this worker explains with these manifests from now on; it is given their jobs only."""
        ...

    def take(self, limit: int, timeout_s: float, *, summaries: bool = True) -> list[Lease]:
        """Up to `limit` jobs of one model and method, oldest first; an empty list when the time is over.

        summaries: whether they may be among them.
        """
        ...

    def finish(self, lease: Lease, result: bytes, metrics: JobMetrics | None = None) -> bool:
        """Record a result, and what it took. False when the lease is no longer this worker's: nothing was recorded."""
        ...

    def fail(self, lease: Lease, error: JobError) -> bool:
        """Record why there is no result, in the same way."""
        ...

    def report(self, leases: Sequence[Lease], progress: float, error: float | None = None) -> list[bool]:
        """Note progress and keep the leases; for each, whether it is still wanted.

        error: of what is sampled, the mean standard error over the mean |attribution| so far.
        """
        ...

    def renew(self) -> None:
        """Keep all leases of this worker alive; called from a thread while it computes."""
        ...

    def close(self) -> None:
        """Hand back what is leased and not finished."""
        ...


class QueueAdmin(Protocol):
    """The supervisor's side: it knows before any lease ends that its worker is dead."""

    def release(self, owner: str) -> None:
        """Hand back at once all that a dead worker held."""
        ...

    def release_all(self) -> None:
        """Hand back what workers of this machine's queue held: called when it is known that none is running."""
        ...

    def workers(self) -> list[WorkerRecord]: ...

    def close(self) -> None: ...


def new_id() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def job_error(code: str, message: str) -> JobError:
    return JobError(code=code, message=message)


WORKER_LOST = job_error("worker_lost", f"{MAX_DELIVERIES} workers were lost while they computed this explanation")
TIMED_OUT = job_error("explanation_timeout", "the explanation was not there by its deadline")


Answer = dict[str, Any]
