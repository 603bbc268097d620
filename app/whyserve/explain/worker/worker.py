"""The worker: queue ▶ network ▶ attribution ▶ result, until it is told to stop."""

import contextlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

from whyserve.errors import ModelFault, Unavailable, WhyserveError
from whyserve.explain.game.base import Stopped
from whyserve.explain.models.registry import ModelRegistry
from whyserve.explain.worker.batch import compute, shareable
from whyserve.explain.worker.results import JobResult
from whyserve.explain.worker.tracing import trace
from whyserve.jobs import ExplainJob, JobError, JobMetrics, Lease, job_error
from whyserve.queue_protocols import JobSource
from whyserve.telemetry.logs import about
from whyserve.telemetry.metrics import COMPUTE_S, JOBS

if TYPE_CHECKING:
    from whyserve.telemetry.spans import Tracer

log = logging.getLogger("whyserve.worker")

TAKE_S = 0.5  # an idle worker hears a stop this late at the most
REPORT_EVERY_S = 0.1
RETRY_S = 0.2  # between two tries to reach the queue
GIVE_WAY_S = 0.05  # so often at the most, what waits is taken between two chunks of a summary
LAST_TRIES_S = 5.0  # that a stopping worker gives to recording what it has


class Worker:
    def __init__(
        self,
        source: JobSource,
        models: ModelRegistry,
        *,
        batch_jobs: int,
        lease_s: float,
        spans: "Tracer | None" = None,
    ) -> None:
        self._source, self._models, self._spans = source, models, spans
        self._batch_jobs, self._lease_s = batch_jobs, lease_s
        self._stopping = threading.Event()
        self._lent_s, self._looked = 0.0, 0.0  # what other jobs had of a summary's time, and when they last could

    def stop(self) -> None:
        """Finish what is in hand, and take no more. Safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Serve until stopped."""
        keeper = threading.Thread(target=self._keep_leases, name="leases", daemon=True)
        watcher = threading.Thread(
            target=self._models.watch, args=(self._stopping, self._source.announce), name="models", daemon=True
        )
        keeper.start()
        try:
            self._patiently(lambda: self._source.announce(self._models.digests))
            watcher.start()
            while not self._stopping.is_set():
                self._patiently(self._turn)
        finally:
            # The keeper ends before the source closes: it must not renew what has been handed back.
            self._stopping.set()
            keeper.join()
            if watcher.ident:
                watcher.join()
            with contextlib.suppress(Unavailable):  # then the leases end by themselves
                self._source.close()

    def _turn(self) -> None:
        if leases := self._source.take(self._batch_jobs, TAKE_S):
            self._serve(leases)

    def _give_way(self) -> None:
        """Between two chunks of a summary: serve what waits, one batch of it, so that both go on."""
        began = time.monotonic()
        if self._stopping.is_set() or began - self._looked < GIVE_WAY_S:
            return
        try:
            if leases := self._source.take(self._batch_jobs, 0, summaries=False):
                self._serve(leases)
        except Unavailable:
            pass  # the summary goes on, and its result waits for the queue
        self._looked = time.monotonic()
        self._lent_s += self._looked - began

    def _patiently(self, step: Callable[[], object]) -> None:
        """Do it once the queue can be reached, which it may not be for a while."""
        began = time.monotonic()
        while True:
            try:
                step()
                return
            except Unavailable as error:
                if self._stopping.is_set() and time.monotonic() - began > LAST_TRIES_S:
                    return
                log.warning("%s", error.message)
                time.sleep(RETRY_S)

    def _keep_leases(self) -> None:
        while not self._stopping.wait(self._lease_s / 3):
            try:
                self._source.renew()
            except Unavailable:
                pass  # said where jobs are taken
            except Exception:
                log.exception("leases could not be renewed; trying again")

    def _serve(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            trace(self._spans, "queue wait", lease, (lease.job.created, time.time()))
        groups: dict[object, list[Lease]] = defaultdict(list)
        for lease in leases:
            groups[shareable(lease.job)].append(lease)
        for group in groups.values():
            began = time.time()
            error = self._compute(group)
            if error is None:
                continue
            # One job's fault is not its neighbours': each has its own answer.
            for lease in group:
                alone = self._compute([lease]) if len(group) > 1 else error
                if alone is not None:
                    self._fail(lease, alone)
                    trace(self._spans, "explain", lease, (began, time.time()), error=alone.code)

    def _fail(self, lease: Lease, error: JobError) -> None:
        self._patiently(partial(self._record, lease, partial(self._source.fail, lease, error)))
        JOBS.labels(lease.job.model, error.code).inc()
        with _about(lease.job):
            log.info("not explained", extra={"job": lease.job.id, "model": lease.job.model, "code": error.code})

    def _record(self, lease: Lease, record: Callable[[], bool]) -> None:
        if not record():
            log.warning("no longer wanted: cancelled, or given to another", extra={"job": lease.job.id})

    def _compute(self, leases: Sequence[Lease]) -> JobError | None:
        """Compute and record; or say why not."""
        job = leases[0].job
        model = self._models.get(job.digest)
        if model is None:
            return job_error("manifest_mismatch", f"this worker has no {job.model} of the manifest that predicted")
        began, lent_s = time.monotonic(), self._lent_s
        # Should a job end its worker, a summary is lost with it once only: delivered again, it goes alone.
        between = self._give_way if leases[0].fence == 1 else None
        try:
            progress = _Progress(self._source, leases)
            answers = compute([lease.job for lease in leases], model, progress, progress.note, between)
        except Stopped:
            return job_error("explanation_timeout", "the explanation was stopped before it had anything to answer")
        except ModelFault as error:
            return job_error("explanation_failed", error.message)
        except WhyserveError as error:
            return job_error(error.code, error.message)
        except Exception:
            with _about(job):
                log.exception("explaining failed", extra={"job": job.id, "model": job.model})
            return job_error("explanation_failed", f"{job.model} could not be explained; the worker's log says why")
        took = time.monotonic() - began - (self._lent_s - lent_s)
        when = (time.time() - took, time.time())
        COMPUTE_S.labels(job.model, answers[0].method).observe(took)
        for lease, answer in zip(leases, answers, strict=True):
            record = partial(self._source.finish, lease, answer.json, _job_metrics(lease.job, answer))
            self._patiently(partial(self._record, lease, record))
            JOBS.labels(job.model, "done").inc()
            trace(self._spans, "explain", lease, when, method=answer.method, shared_by=len(leases))
            with _about(lease.job):
                extra = {"job": lease.job.id, "model": job.model, "shared_by": len(leases), "ms": round(1e3 * took, 2)}
                log.info("explained", extra=extra)
        return None


def _job_metrics(job: ExplainJob, answer: JobResult) -> JobMetrics | None:
    """What an explanation took; a drawing of one is none."""
    if job.drawing:
        return None
    seconds = max(0.0, time.time() - job.created)
    return JobMetrics(model=job.model, method=answer.method, seconds=seconds, residual=answer.residual)


def _about(job: ExplainJob) -> AbstractContextManager[None]:
    return about(job.request_id, job.traceparent)


class _Progress:
    """Tells the queue how far a computation is, not too often, and the method whether anybody still wants it."""

    def __init__(self, source: JobSource, leases: Sequence[Lease]) -> None:
        self._source, self._leases = source, leases
        self._next = time.monotonic() + REPORT_EVERY_S
        self._error: float | None = None

    def note(self, error: float) -> None:
        """A standard error, to be told with the next report."""
        self._error = error

    def __call__(self, share: float) -> bool:
        now = time.monotonic()
        if now < self._next:
            return True
        self._next = now + REPORT_EVERY_S
        try:
            return any(self._source.report(self._leases, share, self._error))
        except Unavailable:
            return True  # the result will say
