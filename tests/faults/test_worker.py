"""The worker dies, hangs or reports too late: no explanation is lost, and none is recorded twice."""

import os
import signal
import sqlite3
import time
from typing import Any

import httpx
import pytest

from tests.conftest import Running
from tests.faults.conftest import FATAL, SLOW, SOMEWHAT, ask, metric, outcome, submit
from tests.test_service import children
from whyserve.queues.queue_file import QUEUE_FILE

KILLS, JOBS = 50, 500


def test_a_job_that_ends_its_worker_fails_after_three_tries_and_other_jobs_complete(start):
    service = start()
    with service.client() as client:
        poison = submit(client, FATAL)
        after = client.post("/explain", json=ask(1.0))
        assert after.status_code == 200, after.text
        state = await_final(client, poison)
        assert (state["status"], state["error"]["code"]) == ("failed", "worker_lost")
        assert sum("the worker died (with exit code 9)" in line for line in service.lines) == 3
        assert client.post("/explain", json=ask(2.0)).status_code == 200


@pytest.mark.slow
def test_a_job_that_ends_its_worker_during_a_summary_does_not_fail_the_summary(start):
    service = start()
    with service.client() as client:
        rows = [{"a": float(number % 600), "b": SOMEWHAT} for number in range(800)]
        accepted = client.post("/explain", json={"model": "frail", "instances": rows, "summary": True})
        assert accepted.status_code == 202, accepted.text
        summary = str(accepted.json()["id"])
        while outcome(client, summary)["progress"] == 0:
            time.sleep(0.02)
        poison = submit(client, FATAL)
        state = await_final(client, poison)
        assert (state["status"], state["error"]["code"]) == ("failed", "worker_lost")
        state = await_final(client, summary)
        assert state["status"] == "done"
        assert state["result"]["rows"] == len(rows)


@pytest.mark.faults
@pytest.mark.timeout(1500)
def test_fifty_kills_over_five_hundred_jobs_lose_and_repeat_nothing(start, tmp_path):
    service: Running = start("--batch-jobs", "4", "--explain-deadline-s", "3600")
    with service.client() as client:
        jobs = [submit(client, float(number % 600), SOMEWHAT) for number in range(JOBS)]
        noticed, back = [], []
        left = metric(client, "whyserve_queue_depth")
        for kill in range(KILLS):
            # Kill it while it works: it has finished jobs since the last kill, and more are queued.
            left = await_less(client, left)
            pid = children(service.process.pid)["worker"]
            os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            await_lines(service, r"the worker died \(by SIGKILL\)", kill + 1)
            noticed.append(time.monotonic() - began)
            left = min(left, metric(client, "whyserve_queue_depth"))
            await_less(client, left)
            back.append(time.monotonic() - began)
        states = [await_final(client, job) for job in jobs]
        assert [state["status"] for state in states] == ["done"] * JOBS
        assert metric(client, "whyserve_queue_depth") == 0
        for number in (0, 250, 499):
            fresh = client.post("/explain", json=ask(float(number % 600), SOMEWHAT)).json()
            assert states[number]["result"]["explanations"] == fresh["explanations"]
    with sqlite3.connect(tmp_path / "q" / QUEUE_FILE) as db:
        counted = db.execute(
            "SELECT count(*), (SELECT count(*) FROM contents WHERE part = 'result'), sum(deliveries > 1) FROM jobs"
        ).fetchone()
    db.close()
    assert counted[0] == counted[1] >= JOBS
    assert counted[2] >= KILLS // 2, "too few kills happened during a job"
    print(f"noticed after {1e3 * max(noticed):.0f} ms at most; answering again after {sorted(back)[KILLS // 2]:.1f} s")
    # Only the notice is checked: after it, the time is that of loading the models.
    assert max(noticed) < 1


@pytest.mark.faults
def test_the_late_result_of_a_worker_stopped_past_its_lease_is_refused(start, frail, tmp_path):
    models, artifacts = frail
    service = start("--lease-s", "1", "--log-level", "warning")
    with service.client() as client:
        slow = submit(client, SLOW)
        while outcome(client, slow)["status"] != "running":
            time.sleep(0.05)
        stopped = children(service.process.pid)["worker"]
        os.kill(stopped, signal.SIGSTOP)
        folders = ["--models", str(models), "--artifacts", str(artifacts), "--state", str(tmp_path / "q")]
        other = Running(["worker", "--lease-s", "1", *folders], {"CUDA_VISIBLE_DEVICES": ""})
        try:
            state = await_final(client, slow)
            assert state["status"] == "done"
            os.kill(stopped, signal.SIGCONT)
            service.await_line(r"result refused: the job was cancelled or given to another worker", 60)
            assert outcome(client, slow) == state
        finally:
            assert other.stop() == 0, other.output


def await_final(client: httpx.Client, job: str, timeout_s: float = 120) -> dict[str, Any]:
    end = time.monotonic() + timeout_s
    while True:
        state = outcome(client, job)
        if state["status"] in {"done", "failed", "cancelled"}:
            return state
        assert time.monotonic() < end, state
        time.sleep(0.05)


def await_less(client: httpx.Client, depth: float, timeout_s: float = 60) -> float:
    end = time.monotonic() + timeout_s
    while (now := metric(client, "whyserve_queue_depth")) >= depth:
        assert time.monotonic() < end, f"still {now} unfinished explanations"
        time.sleep(0.005)
    return now


def await_lines(service: Running, pattern: str, count: int, timeout_s: float = 60) -> None:
    import re

    end = time.monotonic() + timeout_s
    while sum(bool(re.search(pattern, line)) for line in list(service.lines)) < count:
        assert time.monotonic() < end, service.output
        time.sleep(0.005)
