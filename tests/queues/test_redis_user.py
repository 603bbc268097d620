"""The Redis of docker/: its one user with the queue's keys and commands, and processes with wrong Redis settings."""

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.conftest import MODELS, ROOT, Running
from tests.queues.conftest import final, job, redis_world, take
from tests.queues.redis_server import free_port, need_redis
from whyserve.errors import ConfigurationError
from whyserve.jobs import JobMetrics, JobStatus
from whyserve.queues.factory import open_queue
from whyserve.queues.redis_check import check_redis
from whyserve.queues.redis_store import PREFIX, SCRIPT
from whyserve.settings import ApiSettings

PASSWORD = "correct-horse_1"
ALLOWED = {
    word[1:]
    for word in (ROOT / "docker" / "redis.acl").read_text().splitlines()[1].split()
    if word.startswith("+")
}  # fmt: skip


class Guarded:
    def __init__(self, folder: Path) -> None:
        need_redis()
        self._folder, self.port = folder, free_port()
        self.start()

    def start(self) -> None:
        folder = str(self._folder)
        self.process = subprocess.Popen(
            ["sh", str(ROOT / "docker" / "redis.sh"), "--port", str(self.port), "--bind", "127.0.0.1"],
            env={**os.environ, "REDIS_PASSWORD": PASSWORD, "REDIS_FOLDER": folder, "TMPDIR": folder},
            stdout=subprocess.DEVNULL,
        )
        with self.client() as client:
            end = time.monotonic() + 10
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert self.process.poll() is None, "redis-server did not start"
                    assert time.monotonic() < end, "redis-server does not answer"
                    time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(10)

    def url(self, who: str = f"whyserve:{PASSWORD}@") -> str:
        return f"redis://{who}127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url())


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    server = Guarded(tmp_path_factory.mktemp("guarded"))
    yield server
    assert server.stop() == 0


def test_the_queue_works_as_this_user(guarded):
    asyncio.run(use_all_of_the_queue(guarded))


async def use_all_of_the_queue(guarded: Guarded) -> None:
    world = redis_world(guarded.url(), PREFIX)
    check_redis(guarded.url(), 0)
    queue = world.queue()
    worker = world.worker()
    asked, dropped = job(idempotency_key="o1", request_hash="q"), job()
    assert await queue.submit(asked) == await queue.submit(asked)
    (lease,) = take(worker, 1, 1)
    assert worker.report([lease], 0.5) == [True]
    worker.renew()
    metrics = JobMetrics(model="wine", method="exact", seconds=1)
    assert worker.finish(lease, b"{}", metrics)
    assert await queue.job_metrics() == [metrics]
    assert (await final(queue, asked.id, 5)).status == JobStatus.done
    await queue.submit(dropped)
    assert take(worker, 1, 1)
    worker.close()
    assert await queue.depth() == 1
    assert (await queue.cancel(dropped.id)).status == JobStatus.cancelled
    assert await queue.workers() == []
    await queue.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_accepted_jobs_survive_a_restart(number, guarded):
    asyncio.run(restart(guarded, number))


async def restart(guarded: Guarded, number: int) -> None:
    queue, worker = (world := redis_world(guarded.url(), PREFIX)).queue(), world.worker()
    done, taken, waiting = job(), job(), job()
    await queue.submit(done)
    (lease,) = take(worker, 1, 1)
    assert worker.finish(lease, b"{}")
    await queue.submit(taken)
    assert take(worker, 1, 1)
    await queue.submit(waiting)
    await queue.close()
    guarded.stop(number)
    guarded.start()
    queue = world.queue()
    assert (await queue.state(done.id)).result == b"{}"
    assert (await queue.state(taken.id)).status == JobStatus.running
    assert (await queue.state(waiting.id)).status == JobStatus.queued
    assert await queue.depth() == 2
    for open_job in (taken, waiting):
        await queue.cancel(open_job.id)
    worker.close()
    await queue.close()


def test_the_acl_lists_the_commands_of_the_script_and_of_the_client_and_no_others(guarded):
    called = {name.lower() for name in re.findall(r"redis\.call\('(\w+)'", SCRIPT)}
    client = {"ping", "evalsha", "script|load", "subscribe", "unsubscribe", "publish"}
    assert {word.partition("|")[0] for word in ALLOWED} == called | {word.partition("|")[0] for word in client}


@pytest.mark.parametrize(
    "command",
    ["FLUSHALL", "CONFIG GET *", "KEYS *", "EVAL return 0", "ACL WHOAMI", "SHUTDOWN", "GET elsewhere", "PUBLISH x y"],
)
def test_the_user_may_run_no_other_command(command, guarded):
    with guarded.client() as client, pytest.raises(redis.ResponseError, match=r"(?i)permission"):
        client.execute_command(*command.split())


@pytest.mark.parametrize("who", ["", "whyserve:wrong@", "whyserve@", ":wrong@", "other:correct-horse_1@"])
def test_other_users_are_refused_with_a_message_that_says_what_to_change(who, guarded):
    with pytest.raises(ConfigurationError) as caught:
        check_redis(guarded.url(who), 0)
    assert caught.value.message.startswith("WHYSERVE_REDIS_URL: Redis refused the user or password")
    assert "wrong" not in caught.value.message


def test_an_unknown_host_is_named_without_the_password():
    with pytest.raises(ConfigurationError) as caught:
        open_queue(ApiSettings(redis_url=f"redis://whyserve:{PASSWORD}@nowhere.invalid:6379/0", redis_wait_s=0))
    assert "nowhere.invalid:6379" in caught.value.message
    assert caught.value.message.endswith("start Redis, or change the address")
    assert PASSWORD not in caught.value.message


def test_a_worker_waits_for_a_redis_that_starts_later(tmp_path, light):
    models, artifacts = light
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    flags = ["--models", str(models), "--artifacts", str(artifacts), "--state", str(tmp_path / "state")]
    file = tmp_path / "alive"
    worker = Running(["worker", *flags, "--redis-url", url, "--redis-wait-s", "60", "--health-file", str(file)])
    server = subprocess.Popen(
        [need_redis(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while not file.exists() and time.monotonic() < end and worker.process.poll() is None:
            time.sleep(0.1)
        assert file.exists(), worker.output
    finally:
        code = worker.stop()
        server.terminate()
        server.wait(10)
    assert code == 0, worker.output


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_process_ends_with_one_line(role, artifacts, guarded, tmp_path):
    flags = ["--models", str(MODELS), "--artifacts", str(artifacts), "--state", str(tmp_path), "--port", "0"]
    running = Running([role, *flags, "--redis-url", guarded.url("whyserve:wrong@")])
    assert running.process.wait(60) == 1
    running.stop()
    (line,) = running.lines
    assert line.startswith(f"whyserve {role}: WHYSERVE_REDIS_URL: Redis refused")


def test_a_server_without_a_password_does_not_start():
    done = subprocess.run(
        ["sh", str(ROOT / "docker" / "redis.sh")],
        env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "whyserve redis: REDIS_PASSWORD is not set; set it to the queue's password, as in .env.example"
    ]
