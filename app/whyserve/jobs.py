"""The messages between API and worker: jobs, their results, states and errors.

A queue holds them as JSON. Direct delivery (whyserve.delivery) sends them as JSON with raw arrays beside it.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import frexp
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from whyserve.model.arrays import PackedArray
from whyserve.model.outputs import Output
from whyserve.model.rows import Arrays
from whyserve.model.scale import Scale
from whyserve.model.spec import DEFAULT_BACKGROUND, ModelSpec
from whyserve.model.text import TokenSpans

# The end of a heavy job's batch key, by which a queue recognises heavy jobs.
HEAVY_KEY = "/heavy"
# A job with more work, in seconds, is heavy: other jobs are computed between its chunks, but no second heavy job.
HEAVY_S = 2.0
# A job with more work shares no passes, so that jobs which are computed together delay nobody for long.
SHARED_S = 0.125


class JobStatus(StrEnum):
    queued = "queued"  # accepted and on disk; no worker has it
    running = "running"  # leased by a worker
    done = "done"  # has a result
    failed = "failed"  # has an error
    cancelled = "cancelled"  # cancelled by its caller; has neither

    @property
    def is_final(self) -> bool:
        return self in {JobStatus.done, JobStatus.failed, JobStatus.cancelled}


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GivenBackground(_Message):
    """A background sent with a request.

    arrays: input name → (rows, *shape).
    sha256: digest of all arrays, with their names, dtypes and shapes.
    """

    arrays: dict[str, PackedArray]
    sha256: str

    @classmethod
    def pack(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        packed = {name: PackedArray.pack(arrays[name]) for name in sorted(arrays)}
        content = [(n, x.unpack().dtype.name, x.unpack().shape, x.base64) for n, x in packed.items()]
        return cls(arrays=packed, sha256=hashlib.sha256(repr(content).encode()).hexdigest())

    @property
    def rows(self) -> int:
        return int(next(iter(self.arrays.values())).unpack().shape[0])


class Drawing(_Message):
    """A job with a Drawing draws a picture of an existing explanation and computes no attributions.

    answer: the explanation's JSON, with one row and one output.
    """

    kind: Literal["svg", "png"]
    answer: str


class ExplainJob(_Message):
    """One request to explain rows, or to draw an explanation.

    digest: SHA-256 of the manifest that the prediction was made with; only workers with this manifest take the job.
    rows: input name → (rows, *shape).
    served: (rows, columns), the outputs of ONNX Runtime.
    outputs: per row, the names of the outputs to explain.
    scale: on which they are explained; None is the scale of the outputs. logits: of ONNX Runtime, (rows, columns), if
    the scale is computed from them.
    ids: the caller's id of each row, or None; empty if no row can have one.
    texts: input name → per row, the position of each token in the text. Only for inputs sent as text.
    interactions: of all pairs of players too; the method is then exact.
    background: the name of one of the model's backgrounds, or a background sent with the request.
    players: what gets one attribution each, as in the request; None means the model's own.
    answer_bytes: the expected size of the answer.
    summary: one summary of all rows instead of one explanation per row.
    reasons: the language of the reasons that each explanation has; None without reasons.
    similar: how many similar background rows each explanation has; None also without the share of more unusual rows.
    cost: counted work in units; see whyserve.model.work. work: the expected seconds.
    created, deadline: seconds since the epoch.
    decision: the recorded prediction that is explained again, ID or ID.ROW.
    caller: the name of the caller's API key; other callers cannot read the job.
    idempotency_key, request_hash: a job with a known key is a repeat if its request_hash is equal, an error if not.
    traceparent: W3C trace context.
    """

    id: str
    model: str
    version: int
    digest: str
    rows: dict[str, PackedArray]
    served: PackedArray
    outputs: list[list[str]]
    scale: Scale | None = None
    logits: PackedArray | None = None
    ids: tuple[str | int | None, ...] = ()
    texts: dict[str, tuple[TokenSpans, ...]] = {}
    method: str = "auto"
    interactions: bool = False
    samples: int | None = None
    standard_error: float | None = None
    seed: int = 0
    background: str | GivenBackground = DEFAULT_BACKGROUND
    players: dict[str, Any] | None = None
    answer_bytes: int = 0
    summary: bool = False
    reasons: str | None = None
    similar: int | None = None
    drawing: Drawing | None = None
    cost: int = 1
    work: float = 0.01
    created: float
    deadline: float | None = None
    request_id: str | None = None
    traceparent: str | None = None
    decision: str | None = None
    caller: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        digest: str,
        arrays: Arrays,
        served: np.ndarray,
        outputs: Sequence[Sequence[Output]],
        *,
        logits: np.ndarray | None = None,
        **more: Any,
    ) -> Self:
        """The job that explains rows of a model. arrays, served, logits: unpacked. more: the other fields."""
        facts: dict[str, Any] = {
            "id": new_id(),
            "model": spec.name,
            "version": spec.version,
            "digest": digest,
            "rows": {name: PackedArray.pack(array) for name, array in arrays.items()},
            "served": PackedArray.pack(served),
            "logits": None if logits is None else PackedArray.pack(logits),
            "outputs": [[output.name for output in row] for row in outputs],
            "created": time.time(),
        }
        return cls(**facts | more)

    @property
    def batch_key(self) -> str:
        """Jobs with equal batch keys may be computed together. A summary, a drawing or a long job is alone."""
        if self.summary or self.drawing or self.work > SHARED_S:
            return f"{self.digest}/{self.id}{HEAVY_KEY if self.is_heavy else ''}"
        # The first deadline ends the whole computation. Only jobs whose allowed times have the same power of two are
        # together, so that a job of a second does not end a job of minutes.
        time_class = None if self.deadline is None else frexp(self.deadline - self.created)[1]
        outputs = max(map(len, self.outputs))
        how = (self.method, self.interactions, self.samples, self.standard_error, self.seed)
        parts = (*how, self.background_key, self.players_key, self.scale, outputs, time_class)
        return "/".join(map(str, (self.digest, *parts)))

    @property
    def is_heavy(self) -> bool:
        return self.work > HEAVY_S

    @property
    def flow(self) -> tuple[str | None, bool]:
        """Jobs of one flow wait for each other. A caller's heavy jobs do not delay the caller's other jobs."""
        return self.caller, self.is_heavy

    @property
    def players_key(self) -> str:
        """Identifies the players; empty for the model's own."""
        if self.players is None:
            return ""
        return hashlib.sha256(json.dumps(self.players, sort_keys=True).encode()).hexdigest()

    @property
    def background_key(self) -> str:
        """Identifies the background among all backgrounds of one model."""
        return self.background if isinstance(self.background, str) else f"sha256:{self.background.sha256}"


class JobError(_Message):
    """Why a job has no result: a stable code for programs and a message for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class JobResult:
    """The result of a job.

    head: a JSON object. rows: the JSON of each explained row; a summary and a drawing have none.
    method: the method that was used. residual: the largest, relative to |value − base value|; None for a summary.
    complete: False if a deadline ended the method early.
    """

    head: bytes
    rows: Sequence[bytes] = ()
    method: str = ""
    residual: float | None = None
    complete: bool = True

    @property
    def json(self) -> bytes:
        """The body of the response."""
        return with_rows(self.head, self.rows) if self.rows else self.head


def with_rows(head: bytes, rows: Sequence[bytes]) -> bytes:
    """A JSON object with one more field, `explanations`."""
    return b"".join((head[:-1], b',"explanations":[', b",".join(rows), b"]}"))


class JobMetrics(_Message):
    """Measurements of one finished explanation, for Prometheus.

    seconds: from the request to the result.
    residual: the largest |residual| divided by the largest |value − base value|; None for a summary.
    """

    model: str
    method: str
    seconds: float
    residual: float | None = None


@dataclass(frozen=True, slots=True)
class JobState:
    """A job's state.

    progress: 0 to 1.
    result: the JSON that the API returns.
    standard_error: for sampled methods, the mean standard error divided by the mean |attribution|, so far.
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
    """A job delivered to a worker.

    fence: the number of deliveries of the job so far. A result with an older fence is refused.
    """

    job: ExplainJob
    fence: int


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker that is ready, with the digests of its manifests."""

    owner: str
    digests: frozenset[str]


def new_id() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def job_error(code: str, message: str) -> JobError:
    return JobError(code=code, message=message)
