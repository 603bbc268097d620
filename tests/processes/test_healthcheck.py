"""The containers' health checks, the file of the worker's check, and a stop during the start."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import MODELS, ROOT, Running
from tests.queues.redis_server import free_port
from whyserve.errors import ConfigurationError, Unavailable
from whyserve.explain.worker.progress import REPORT_EVERY_S, JobProgress
from whyserve.jobs import Lease
from whyserve.processes.healthcheck import Heartbeat


def check(role: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "whyserve.processes.healthcheck", role],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


def test_an_api_that_answers_is_healthy(service):
    port = service.address.rpartition(":")[2]
    assert check("api", WHYSERVE_PORT=port) == (0, "healthy")


def test_an_api_that_does_not_answer_is_not_healthy():
    code, words = check("api", WHYSERVE_PORT=str(free_port()))
    assert code == 1
    assert "does not answer" in words


def test_a_worker_is_healthy_when_it_has_reached_its_queue(light, tmp_path):
    models, artifacts = light
    file = tmp_path / "worker.alive"
    assert check("worker", WHYSERVE_HEALTH_FILE=str(file)) == (
        1,
        "the worker has not reached the queue since its start",
    )
    flags = ["--models", str(models), "--artifacts", str(artifacts), "--state", str(tmp_path / "state")]
    worker = Running(["worker", *flags, "--health-file", str(file)])
    try:
        end = time.monotonic() + 120
        while not file.exists() and time.monotonic() < end and worker.process.poll() is None:
            time.sleep(0.1)
        assert check("worker", WHYSERVE_HEALTH_FILE=str(file)) == (0, "healthy"), worker.output
    finally:
        assert worker.stop() == 0, worker.output


def test_a_worker_that_has_been_silent_is_not_healthy(tmp_path):
    file = tmp_path / "worker.alive"
    file.touch()
    os.utime(file, (0, time.time() - 100))
    code, words = check("worker", WHYSERVE_HEALTH_FILE=str(file))
    assert code == 1
    assert "has not reached the queue for 100 s" in words


def test_a_check_without_a_file_says_what_to_set():
    assert check("worker")[1].startswith("WHYSERVE_HEALTH_FILE is not set")


class Source:
    """Answers reports, or is not reachable."""

    def __init__(self, is_lost: bool) -> None:
        self._is_lost = is_lost

    def report(self, leases: Sequence[Lease], progress: float, error: float | None = None) -> list[bool]:
        if self._is_lost:
            raise Unavailable("gone")
        return [True]


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_long_computation_touches_the_file_while_its_source_answers(is_lost, tmp_path):
    progress = JobProgress(Source(is_lost).report, [], Heartbeat(tmp_path / "alive"))
    assert not (tmp_path / "alive").exists()
    time.sleep(REPORT_EVERY_S)
    assert progress.on_progress(0.5)
    assert (tmp_path / "alive").exists() is not is_lost


def test_an_idle_worker_touches_the_file(light, tmp_path):
    models, artifacts = light
    file = tmp_path / "alive"
    flags = ["--models", str(models), "--artifacts", str(artifacts), "--state", str(tmp_path)]
    worker = Running(["worker", *flags, "--health-file", str(file)])
    try:
        end = time.monotonic() + 120
        while not file.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        os.utime(file, (0, 0))
        while file.stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        assert worker.stop() == 0, worker.output


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(ConfigurationError, match="WHYSERVE_HEALTH_FILE"):
        Heartbeat(tmp_path / "nowhere" / "alive")


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_signal_during_the_start_stops_the_process(role, artifacts, tmp_path):
    """The start waits for a Redis that is not running."""
    flags = ["--artifacts", str(artifacts), "--models", str(MODELS), "--state", str(tmp_path), "--port", "0"]
    redis = f"redis://127.0.0.1:{free_port()}/0"
    running = Running([role, *flags, "--redis-url", redis, "--redis-wait-s", "600"])
    handler = 1 << (signal.SIGTERM - 1)
    end = time.monotonic() + 60
    while time.monotonic() < end and not handler & caught(running.process.pid):
        time.sleep(0.02)
    assert running.stop() == 0, running.output


def caught(pid: int) -> int:
    """Bits of the signals that the process has handlers for."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), 16)
