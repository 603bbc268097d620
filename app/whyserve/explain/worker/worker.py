"""The worker: take jobs from the queue, compute them, record the results, until it is stopped."""

import contextlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from whyserve.errors import ModelFault, Unavailable, WhyserveError
from whyserve.explain.game.base import Stopped
from whyserve.explain.models.registry import ModelRegistry
from whyserve.explain.worker.batch import compute, sharing_key
from whyserve.explain.worker.progress import JobProgress
from whyserve.explain.worker.recorder import Recorder, log_context
from whyserve.explain.worker.retry import retry
from whyserve.jobs import JobError, Lease, job_error
from whyserve.queue_protocols import JobSource

if TYPE_CHECKING:
    from whyserve.telemetry.spans import Tracer

log = logging.getLogger("whyserve.worker")

TAKE_S = 0.5  # one wait for jobs: an idle worker notices a stop after this time
GIVE_WAY_S = 0.05  # the shortest time between two looks for other jobs during a summary


class Worker:
    """Serves one queue in the thread of `run`. Two more threads renew its leases and load new models."""

    def __init__(
        self,
        source: JobSource,
        models: ModelRegistry,
        *,
        batch_jobs: int,
        lease_s: float,
        spans: "Tracer | None" = None,
    ) -> None:
        self._source, self._models = source, models
        self._batch_jobs, self._lease_s = batch_jobs, lease_s
        self._stopping = threading.Event()
        self._recorder = Recorder(source, spans, self._stopping)
        # Seconds that a summary gave to other jobs, and when it last looked for some.
        self._given_s, self._looked = 0.0, 0.0

    def stop(self) -> None:
        """Finish the current jobs and take no more. Safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Serve until `stop` is called."""
        keeper = threading.Thread(target=self._keep_leases, name="leases", daemon=True)
        watcher = threading.Thread(
            target=self._models.watch, args=(self._stopping, self._source.announce), name="models", daemon=True
        )
        keeper.start()
        try:
            retry(lambda: self._source.announce(self._models.digests), self._stopping)
            watcher.start()
            while not self._stopping.is_set():
                retry(self._take, self._stopping)
        finally:
            # The keeper ends before the source closes: it must not renew leases that were returned.
            self._stopping.set()
            keeper.join()
            if watcher.ident:
                watcher.join()
            with contextlib.suppress(Unavailable):  # the leases then expire
                self._source.close()

    def _keep_leases(self) -> None:
        while not self._stopping.wait(self._lease_s / 3):
            try:
                self._source.renew()
            except Unavailable:
                pass  # logged where jobs are taken
            except Exception:
                log.exception("renewing the leases failed; retrying")

    def _take(self) -> None:
        if leases := self._source.take(self._batch_jobs, TAKE_S):
            self._serve(leases)

    def _give_way(self) -> None:
        """Serve one batch of other jobs between two chunks of a summary, so that both make progress."""
        began = time.monotonic()
        if self._stopping.is_set() or began - self._looked < GIVE_WAY_S:
            return
        try:
            if leases := self._source.take(self._batch_jobs, 0, summaries=False):
                self._serve(leases)
        except Unavailable:
            pass  # the summary continues, and its result waits for the queue
        self._looked = time.monotonic()
        self._given_s += self._looked - began

    def _serve(self, leases: Sequence[Lease]) -> None:
        """Compute jobs of one model and method in groups that share network passes."""
        groups: dict[object, list[Lease]] = defaultdict(list)
        for lease in leases:
            self._recorder.taken(lease)
            groups[sharing_key(lease.job)].append(lease)
        for group in groups.values():
            began = time.time()
            error = self._explain(group)
            if error is None:
                continue
            # The error may come from one job only: each job of the group is computed alone.
            for lease in group:
                own_error = self._explain([lease]) if len(group) > 1 else error
                if own_error is not None:
                    self._recorder.failed(lease, own_error, began)

    def _explain(self, leases: Sequence[Lease]) -> JobError | None:
        """Compute jobs together and record their results, or return the error."""
        job = leases[0].job
        model = self._models.get(job.digest)
        if model is None:
            message = f"this worker does not have the build of {job.model} that made the prediction; retry the request"
            return job_error("manifest_mismatch", message)
        began, given_s = time.monotonic(), self._given_s
        # If a job ends its worker, a summary is lost with it only once: the second delivery does not give way.
        between = self._give_way if leases[0].fence == 1 else None
        progress = JobProgress(self._source, leases)
        try:
            jobs = [lease.job for lease in leases]
            results = compute(jobs, model, progress.on_progress, progress.on_error, between)
        except Stopped:
            message = "the deadline passed before there was a result; raise deadline_s, or choose a faster method"
            return job_error("explanation_timeout", message)
        except ModelFault as error:
            return job_error("explanation_failed", error.message)
        except WhyserveError as error:
            return job_error(error.code, error.message)
        except Exception:
            with log_context(job):
                log.exception("explaining failed", extra={"job": job.id, "model": job.model})
            message = f"explaining {job.model} failed with an internal error; the worker's log has the details"
            return job_error("explanation_failed", message)
        self._recorder.done(leases, results, time.monotonic() - began - (self._given_s - given_s))
        return None
