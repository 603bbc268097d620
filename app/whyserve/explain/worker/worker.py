"""The worker: take jobs from APIs and from the queue, compute them, record the results, until it is stopped."""

import contextlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from whyserve.delivery.direct_source import DirectSource
from whyserve.delivery.frames import Reply
from whyserve.errors import ModelFault, Unavailable, WhyserveError
from whyserve.explain.game.base import Stopped
from whyserve.explain.models.registry import ModelRegistry
from whyserve.explain.worker.batch import compute, sharing_key
from whyserve.explain.worker.progress import JobProgress, Reporter
from whyserve.explain.worker.recorder import Recorder, job_metrics, log_context
from whyserve.explain.worker.retry import RETRY_S
from whyserve.jobs import JobError, JobResult, Lease, job_error
from whyserve.queue_protocols import JobSource

if TYPE_CHECKING:
    from whyserve.telemetry.spans import Tracer

log = logging.getLogger("whyserve.worker")

LOOK_S = 0.5  # a worker looks for jobs of lost workers, for new APIs and for a stop after this time
GIVE_WAY_S = 0.05  # the shortest time between two looks for other jobs during a summary


class _Channel(NamedTuple):
    """A source of jobs, and what records their results there."""

    source: Reporter
    recorder: Recorder


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

        def answer(lease: Lease, result: JobResult, took_s: float) -> bool:
            return direct.finish(lease, Reply(result, took_s))

        self._queue_jobs = _Channel(source, Recorder(finish, source.fail, spans, self._stopping))
        self._direct_jobs = _Channel(direct, Recorder(answer, direct.fail, spans, self._stopping))
        # Whether the queue knows this worker, and when to look at the queue next, even without a wake-up.
        self._announced, self._look_at = False, 0.0
        # Seconds that a summary gave to other jobs, and when it last looked for some.
        self._given_s, self._looked = 0.0, 0.0

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

    def _turn(self) -> None:
        """Wait for jobs; serve one batch of the APIs and one of the queue."""
        news = self._direct.poll(max(0.0, self._look_at - time.monotonic()))
        self._serve(self._direct.take(self._batch_jobs), self._direct_jobs)
        if news or time.monotonic() >= self._look_at:
            self._look()

    def _look(self) -> None:
        self._look_at = time.monotonic() + LOOK_S
        self._direct.connect()
        try:
            if not self._announced:
                self._source.announce(self._models.digests)
                self._announced = True
            leases = self._source.take(self._batch_jobs)
            self._alive()
            if leases:
                self._look_at = 0.0  # there may be more jobs
                self._serve(leases, self._queue_jobs)
        except Unavailable as error:
            log.warning("%s", error.message)
            self._look_at = time.monotonic() + RETRY_S

    def _give_way(self) -> None:
        """Serve one batch of other jobs between two chunks of a summary, so that both make progress."""
        began = time.monotonic()
        if self._stopping.is_set() or began - self._looked < GIVE_WAY_S:
            return
        self._direct.poll(0)
        self._serve(self._direct.take(self._batch_jobs), self._direct_jobs)
        with contextlib.suppress(Unavailable):  # the summary continues, and its result waits for the queue
            self._serve(self._source.take(self._batch_jobs, summaries=False), self._queue_jobs)
        self._looked = time.monotonic()
        self._given_s += self._looked - began

    def _serve(self, leases: Sequence[Lease], channel: _Channel) -> None:
        """Compute jobs of one model and method in groups that share network passes."""
        groups: dict[object, list[Lease]] = defaultdict(list)
        for lease in leases:
            channel.recorder.taken(lease)
            groups[sharing_key(lease.job)].append(lease)
        for group in groups.values():
            began = time.time()
            error = self._explain(group, channel)
            # The error may come from one job only: each job of the group is computed alone.
            for lease in group if error else ():
                own_error = self._explain([lease], channel) if len(group) > 1 else error
                if own_error is not None:
                    channel.recorder.failed(lease, own_error, began)
            self._direct.flush()

    def _explain(self, leases: Sequence[Lease], channel: _Channel) -> JobError | None:
        """Compute jobs together and record their results, or return the error."""
        job = leases[0].job
        model = self._models.get(job.digest)
        if model is None:
            message = f"this worker does not have the build of {job.model} that made the prediction; retry the request"
            return job_error("manifest_mismatch", message)
        began, given_s = time.monotonic(), self._given_s
        # If a job ends its worker, a summary is lost with it only once: the second delivery does not give way.
        between = self._give_way if leases[0].fence == 1 else None
        progress = JobProgress(channel.source, leases, self._alive)
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
        channel.recorder.done(leases, results, time.monotonic() - began - (self._given_s - given_s))
        return None
