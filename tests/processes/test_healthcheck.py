"""The containers' health checks, the file of the worker's check, and a stop during the start."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import MODELS, ROOT, Running
from tests.queues.conftest import DIGEST
from tests.queues.redis_server import free_port
from whyserve.errors import ConfigurationError, Unavailable
from whyserve.processes.heartbeat import Heartbeat
from whyserve.queues.embedded_source import EmbeddedSource
from whyserve.queues.queue_file import open_store


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


def test_a_worker_is_healthy_when_it_has_reached_its_queue(artifacts, tmp_path):
    file = tmp_path / "worker.alive"
    assert check("worker", WHYSERVE_HEALTH_FILE=str(file)) == (
        1,
        "the worker has not reached the queue since its start",
    )
    flags = ["--models", str(MODELS), "--artifacts", str(artifacts), "--state", str(tmp_path / "state")]
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


class Lost:
    """A source whose queue is not reachable."""

    def take(self, limit, timeout_s, *, summaries=True):
        raise Unavailable("gone")


def test_the_file_is_touched_by_work_only(tmp_path):
    file = tmp_path / "alive"
    store = open_store(tmp_path / "state", depth=10, keep_s=60, lease_s=10)
    source = Heartbeat(EmbeddedSource(tmp_path / "state", store, "w1"), file)
    assert not file.exists()
    source.renew()
    assert not file.exists()
    source.announce([DIGEST])
    assert file.exists()
    for step in (lambda: source.take(1, 0), lambda: source.report([], 0.5)):
        os.utime(file, (0, 0))
        step()
        assert file.stat().st_mtime > 0
    source.close()
    os.utime(file, (0, 0))
    with pytest.raises(Unavailable):
        Heartbeat(Lost(), file).take(1, 0)  # type: ignore[arg-type]  # take() is all that the test calls
    assert not file.exists()


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    store = open_store(tmp_path / "state", depth=10, keep_s=60, lease_s=10)
    source = EmbeddedSource(tmp_path / "state", store, "w1")
    with pytest.raises(ConfigurationError, match="WHYSERVE_HEALTH_FILE"):
        Heartbeat(source, tmp_path / "nowhere" / "alive")
    source.close()


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
