"""The worker: take jobs from APIs and from the queue, compute them, record the results, until it is stopped."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from whyserve.delivery.direct_source import DirectSource
from whyserve.delivery.frames import Reply
from whyserve.errors import ModelFault, Unavailable, WhyserveError
from whyserve.explain.game.base import Stopped
from whyserve.explain.models.registry import ModelRegistry
from whyserve.explain.worker.batch import compute
from whyserve.explain.worker.progress import JobProgress
from whyserve.explain.worker.recorder import RETRY_S, Recorder, job_metrics, log_context
from whyserve.explain.worker.scheduler import Scheduler
from whyserve.jobs import JobError, JobResult, Lease, job_error
from whyserve.queue_protocols import MAX_DELIVERIES, JobSource

if TYPE_CHECKING:
    from whyserve.telemetry.spans import Tracer

log = logging.getLogger("whyserve.worker")

LOOK_S = 0.5  # a worker looks for jobs of lost workers, for new APIs and for a stop after this time
LOOK_BESIDE_S = 0.05  # the same during a computation, for jobs of the queue that are not heavy


class Worker:
    """Serves the APIs of this machine and one queue in the thread of `run`.

    Three more threads renew its leases, send signs of life to the APIs, and load new models.
    """

    def __init__(
        self,
        source: JobSource,
        direct: DirectSource,
        models: ModelRegistry,
        *,
        batch_jobs: int,
        lease_s: float,
        alive: Callable[[], None],
        spans: "Tracer | None" = None,
    ) -> None:
        """alive: called after each answer of the queue, and between the chunks of a computation."""
        self._source, self._direct, self._models, self._alive = source, direct, models, alive
        self._batch_jobs, self._lease_s = batch_jobs, lease_s
        # A stopping worker finishes its jobs, and keeps their leases until it has ended.
        self._stopping, self._ended = threading.Event(), threading.Event()

        def finish(lease: Lease, result: JobResult, _: float) -> bool:
            return source.finish(lease, result.json, job_metrics(lease.job, result))

        self._queue_jobs = Recorder(finish, source.fail, source.report, spans, self._stopping)
        self._direct_jobs = Recorder(
            lambda lease, *found: direct.finish(lease, Reply(*found)), direct.fail, direct.report, spans, self._stopping
        )
        # Whether the queue knows this worker, and when to look at the queue next, even without a wake-up.
        self._announced, self._look_at = False, 0.0
        self._scheduler = Scheduler(batch_jobs)

    def stop(self) -> None:
        """Finish the current jobs and take no more."""
        self._stopping.set()

    def run(self) -> None:
        """Serve until `stop` is called."""
        threads = [
            threading.Thread(target=self._keep_leases, name="leases", daemon=True),
            threading.Thread(target=self._direct.beat, args=(self._ended, self._lease_s), name="beat", daemon=True),
            threading.Thread(
                target=self._models.watch, args=(self._stopping, self._announce), name="models", daemon=True
            ),
        ]
        # First to the APIs, which need no queue.
        self._direct.announce(self._models.digests)
        self._direct.connect()
        try:
            for thread in threads:
                thread.start()
            while not self._stopping.is_set():
                self._turn()
        finally:
            # The threads end before the sources close: leases that were returned must not be renewed.
            self._stopping.set()
            self._ended.set()
            for thread in threads:
                thread.join()
            self._direct.close()
            with contextlib.suppress(Unavailable):  # the leases then expire
                self._source.close()

    def _keep_leases(self) -> None:
        while not self._ended.wait(self._lease_s / 3):
            try:
                self._source.renew()
            except Unavailable:
                pass  # logged where jobs are taken
            except Exception:
                log.exception("renewing the leases failed; retrying")

    def _announce(self, digests: Sequence[str]) -> None:
        self._direct.announce(digests)
        self._source.announce(digests)

    def _turn(self, running: Sequence[Lease] = (), ran_s: float = 0.0) -> None:
        """Serve one batch of the APIs and one of the queue; wait for jobs if there are none.

        running, ran_s: as in Scheduler.choose. If a computation is running, nothing is waited for.
        """
        self._direct.poll(0 if running else max(0.0, self._look_at - time.monotonic()))
        if leases := self._scheduler.choose(self._direct.waiting, running, ran_s):
            self._direct.start(leases)
            self._serve(leases, self._direct_jobs, running)
        if time.monotonic() >= self._look_at or (self._direct.queue_has_news and not running):
            self._look(running)

    def _look(self, running: Sequence[Lease]) -> None:
        began, pause_s = time.monotonic(), LOOK_BESIDE_S if running else LOOK_S
        self._direct.connect()
        self._direct.queue_has_news = False
        try:
            if not self._announced:
                self._source.announce(self._models.digests)
                self._announced = True
            leases = self._source.take(self._batch_jobs, beside=bool(running))
            self._alive()
            if leases:
                self._serve(leases, self._queue_jobs, running)
                # There may be more jobs. A running computation first gets as much time as it gave.
                pause_s = max(LOOK_BESIDE_S, time.monotonic() - began) if running else 0.0
        except Unavailable as error:
            log.warning("%s", error.message)
            pause_s = RETRY_S
        self._look_at = time.monotonic() + pause_s

    def _give_way(self, running: Sequence[Lease], since_s: float, ran_s: float) -> None:
        """Serve others between two chunks of a computation, if it is their turn. since_s, ran_s: as in GiveWay."""
        self._scheduler.charge(running, since_s)
        if not self._stopping.is_set():
            self._turn(running, ran_s)

    def _serve(self, leases: Sequence[Lease], recorder: Recorder, running: Sequence[Lease]) -> None:
        """Compute jobs with one batch key together. running: the jobs of a computation that gives way to them."""
        began = time.time()
        for lease in leases:
            recorder.taken(lease)
        error = self._explain(leases, recorder, beside=bool(running))
        # The error may come from one job only: each job is computed alone.
        for lease in leases if error else ():
            own_error = self._explain([lease], recorder, beside=bool(running)) if len(leases) > 1 else error
            if own_error is not None:
                recorder.failed(lease, own_error, began)
        self._direct.flush()

    def _explain(self, leases: Sequence[Lease], recorder: Recorder, *, beside: bool) -> JobError | None:
        """Compute jobs together and record their results, or return the error. beside: another computation waits."""
        job = leases[0].job
        try:
            model = self._models.get(job.digest)
        except ModelFault as fault:
            return job_error("explanation_failed", fault.message)
        if model is None:
            message = f"this worker does not have the build of {job.model} that made the prediction; retry the request"
            return job_error("manifest_mismatch", message)
        # Jobs that give way may lose their worker to another job. In their last attempt, they do not.
        gives_way = not beside and leases[0].fence < MAX_DELIVERIES
        give_way = partial(self._give_way, leases) if gives_way else None
        progress = JobProgress(recorder.report, leases, self._alive, give_way)
        try:
            results = compute([lease.job for lease in leases], model, progress.on_progress, progress.on_error)
        except Stopped:
            message = "the deadline passed before there was a result; raise deadline_s, or choose a faster method"
            return job_error("explanation_timeout", message)
        except WhyserveError as error:
            return job_error("explanation_failed" if isinstance(error, ModelFault) else error.code, error.message)
        except Exception:
            with log_context(job):
                log.exception("explaining failed", extra={"job": job.id, "model": job.model})
            message = f"explaining {job.model} failed with an internal error; the worker's log has the details"
            return job_error("explanation_failed", message)
        finally:
            self._scheduler.charge(leases, progress.stop_clock())
        recorder.done(leases, results, progress.seconds)
        return None
