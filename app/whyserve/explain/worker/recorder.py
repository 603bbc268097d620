"""Record the results and errors of jobs: in the queue first, then in metrics, traces and logs."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

from whyserve.explain.worker.retry import retry
from whyserve.explain.worker.tracing import trace
from whyserve.jobs import ExplainJob, JobError, JobMetrics, JobResult, Lease
from whyserve.queue_protocols import JobSource
from whyserve.telemetry.logs import about
from whyserve.telemetry.metrics import COMPUTE_S, JOBS

if TYPE_CHECKING:
    from whyserve.telemetry.spans import Tracer

log = logging.getLogger("whyserve.worker")


class Recorder:
    """Every call waits until the queue is available, but not for long once `stopping` is set."""

    def __init__(self, source: JobSource, spans: "Tracer | None", stopping: threading.Event) -> None:
        self._source, self._spans, self._stopping = source, spans, stopping

    def taken(self, lease: Lease) -> None:
        trace(self._spans, "queue wait", lease, (lease.job.created, time.time()))

    def done(self, leases: Sequence[Lease], results: Sequence[JobResult], took_s: float) -> None:
        """Record the results of jobs that were computed together in `took_s` seconds."""
        model, when = leases[0].job.model, (time.time() - took_s, time.time())
        COMPUTE_S.labels(model, results[0].method).observe(took_s)
        for lease, result in zip(leases, results, strict=True):
            self._record(lease, partial(self._source.finish, lease, result.json, _job_metrics(lease.job, result)))
            JOBS.labels(model, "done").inc()
            trace(self._spans, "explain", lease, when, method=result.method, shared_by=len(leases))
            with log_context(lease.job):
                extra = {"job": lease.job.id, "model": model, "shared_by": len(leases), "ms": round(1e3 * took_s, 2)}
                log.info("explained", extra=extra)

    def failed(self, lease: Lease, error: JobError, began: float) -> None:
        """Record why a job has no result. began: when its computation began, in seconds since the epoch."""
        self._record(lease, partial(self._source.fail, lease, error))
        JOBS.labels(lease.job.model, error.code).inc()
        with log_context(lease.job):
            log.info("not explained", extra={"job": lease.job.id, "model": lease.job.model, "code": error.code})
        trace(self._spans, "explain", lease, (began, time.time()), error=error.code)

    def _record(self, lease: Lease, record: Callable[[], bool]) -> None:
        def call() -> None:
            if not record():
                extra = {"job": lease.job.id}
                log.warning("result refused: the job was cancelled or given to another worker", extra=extra)

        retry(call, self._stopping)


def _job_metrics(job: ExplainJob, result: JobResult) -> JobMetrics | None:
    """The metrics of an explanation. A drawing has none."""
    if job.drawing:
        return None
    seconds = max(0.0, time.time() - job.created)
    return JobMetrics(model=job.model, method=result.method, seconds=seconds, residual=result.residual)


def log_context(job: ExplainJob) -> AbstractContextManager[None]:
    """Adds the request and the trace of a job to the log records inside."""
    return about(job.request_id, job.traceparent)
