"""What becomes of a result that its source does not take."""

import threading

from tests.explain.worker.test_batch import JOB
from whyserve.errors import AnswerTooLarge, Unavailable
from whyserve.explain.worker.recorder import Recorder
from whyserve.jobs import JobResult, Lease


def test_a_result_that_is_too_large_to_be_kept_fails_its_job_at_once_and_alone():
    finished, failed = [], []

    def finish(lease, result, took_s):
        finished.append(lease.job.id)
        if lease.job.id == "large":
            raise AnswerTooLarge("too large")
        return True

    def fail(lease, error):
        failed.append((lease.job.id, error.code))
        return True

    leases = [Lease(JOB.model_copy(update={"id": name}), 1) for name in ("large", "small")]
    Recorder(finish, fail, lambda *_: [], None, threading.Event()).done(
        leases, [JobResult(b"{}", method="exact")] * 2, 0.1
    )
    assert finished == ["large", "small"]
    assert failed == [("large", "answer_too_large")]


def test_a_queue_that_cannot_be_reached_is_tried_again():
    tries = []

    def finish(lease, result, took_s):
        tries.append(lease)
        if len(tries) < 3:
            raise Unavailable("down")
        return True

    recorder = Recorder(finish, lambda *_: True, lambda *_: [], None, threading.Event())
    recorder.done([Lease(JOB, 1)], [JobResult(b"{}", method="exact")], 0.1)
    assert len(tries) == 3
