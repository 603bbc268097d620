"""Record the results and errors of jobs: with their source first, then in metrics, traces and logs."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

from whyserve.errors import Unavailable, WhyserveError
from whyserve.explain.worker.progress import Report
from whyserve.jobs import ExplainJob, JobError, JobMetrics, JobResult, Lease, job_error
from whyserve.telemetry.logs import about
from whyserve.telemetry.metrics import COMPUTE_S, JOBS

if TYPE_CHECKING:
    from whyserve.telemetry.spans import Tracer

log = logging.getLogger("whyserve.worker")

RETRY_S = 0.2  # between two calls of a queue that is not available
STOP_S = 5.0  # how long a stopping worker continues to call

Finish = Callable[[Lease, JobResult, float], bool]
"""Records a result and the seconds that it took."""
Fail = Callable[[Lease, JobError], bool]


class Recorder:
    """Every call waits until the queue is available, but not for long once `stopping` is set."""

    def __init__(
        self, finish: Finish, fail: Fail, report: Report, spans: "Tracer | None", stopping: threading.Event
    ) -> None:
        """finish, fail, report: of the jobs' source; they return False for a lease that is no longer valid."""
        self._finish, self._fail, self.report, self._spans, self._stopping = finish, fail, report, spans, stopping

    def taken(self, lease: Lease) -> None:
        self._trace("queue wait", lease, (lease.job.created, time.time()))

    def done(self, leases: Sequence[Lease], results: Sequence[JobResult], took_s: float) -> None:
        """Record the results of jobs that were computed together in `took_s` seconds."""
        model, when = leases[0].job.model, (time.time() - took_s, time.time())
        COMPUTE_S.labels(model, results[0].method).observe(took_s)
        for lease, result in zip(leases, results, strict=True):
            try:
                self._record(lease, partial(self._finish, lease, result, took_s))
            except WhyserveError as error:  # it would be raised again at each try
                self.failed(lease, job_error(error.code, error.message), when[0])
                continue
            JOBS.labels(model, "done").inc()
            self._trace("explain", lease, when, method=result.method, shared_by=len(leases))
            if log.isEnabledFor(logging.INFO):
                extra = {"job": lease.job.id, "model": model, "shared_by": len(leases), "ms": round(1e3 * took_s, 2)}
                with log_context(lease.job):
                    log.info("explained", extra=extra)

    def failed(self, lease: Lease, error: JobError, began: float) -> None:
        """Record why a job has no result. began: when its computation began, in seconds since the epoch."""
        self._record(lease, partial(self._fail, lease, error))
        JOBS.labels(lease.job.model, error.code).inc()
        with log_context(lease.job):
            log.info("not explained", extra={"job": lease.job.id, "model": lease.job.model, "code": error.code})
        self._trace("explain", lease, (began, time.time()), error=error.code)

    def _record(self, lease: Lease, record: Callable[[], bool]) -> None:
        began = time.monotonic()
        while True:
            try:
                if not record():
                    extra = {"job": lease.job.id}
                    log.warning("result refused: the job was cancelled or given to another worker", extra=extra)
                return
            except Unavailable as error:
                if self._stopping.is_set() and time.monotonic() - began > STOP_S:
                    return
                log.warning("%s", error.message)
                time.sleep(RETRY_S)

    def _trace(
        self, name: str, lease: Lease, when: tuple[float, float], error: str | None = None, **attributes: str | int
    ) -> None:
        """Add a span to the trace of the job's request. when: begin and end, in seconds since the epoch."""
        if self._spans is not None:
            job = lease.job
            described = {"job": job.id, "model": job.model, "rows": len(job.outputs), **attributes}
            attributes = {f"whyserve.{key}": value for key, value in described.items()}
            self._spans.add(name, job.traceparent, when, attributes, error=error)


def job_metrics(job: ExplainJob, result: JobResult) -> JobMetrics | None:
    """The metrics of an explanation. A drawing has none."""
    if job.drawing:
        return None
    seconds = max(0.0, time.time() - job.created)
    return JobMetrics(model=job.model, method=result.method, seconds=seconds, residual=result.residual)


def log_context(job: ExplainJob) -> AbstractContextManager[None]:
    """Adds the request and the trace of a job to the log records inside."""
    return about(job.request_id, job.traceparent)
