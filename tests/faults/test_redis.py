"""Redis dies, comes back, or starts late: predictions work, and no accepted explanation is lost."""

import signal
import time

import httpx
import pytest

from tests.faults.conftest import ASYNC, SLOW, ask, outcome, submit
from tests.faults.test_worker import await_final
from tests.queues.redis_server import RedisServer

RECOVERED_S = 5


@pytest.fixture
def redis(tmp_path):
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis", start=False)
    yield server
    server.stop()


def assert_only_predicting(client: httpx.Client) -> None:
    began = time.monotonic()
    assert client.post("/predict", json=ask(1.0)).status_code == 200
    assert time.monotonic() - began < 1
    refused = client.post("/explain", json=ask(1.0), headers=ASYNC)
    assert refused.status_code == 503, refused.text
    assert "Retry-After" in refused.headers


def accepted_after(client: httpx.Client, row: dict[str, object]) -> tuple[float, str]:
    """Seconds until a job is accepted again, and its id."""
    began = time.monotonic()
    while (answer := client.post("/explain", json=row, headers=ASYNC)).status_code != 202:
        assert answer.status_code == 503, answer.text
        assert time.monotonic() - began < 30
        time.sleep(0.05)
    return time.monotonic() - began, str(answer.json()["id"])


@pytest.mark.faults
def test_redis_killed_and_started_again_loses_nothing(start, redis):
    redis.start()
    service = start("--redis-url", redis.url)
    with service.client() as client:
        jobs = [submit(client, float(number)) for number in range(30)]
        redis.stop(signal.SIGKILL)
        assert_only_predicting(client)
        redis.start()
        after_s, _ = accepted_after(client, ask(5.0, 5.0))
        print(f"explains again {after_s:.1f} s after Redis is back")
        assert after_s < RECOVERED_S
        assert [await_final(client, job)["status"] for job in jobs] == ["done"] * len(jobs)


@pytest.mark.faults
def test_a_job_that_runs_while_redis_dies_is_not_lost_and_new_jobs_are_accepted(start, redis):
    redis.start()
    service = start("--redis-url", redis.url)
    with service.client() as client:
        jobs = [submit(client, SLOW, 1.0), *(submit(client, float(number)) for number in range(5))]
        while outcome(client, jobs[0])["status"] != "running":
            time.sleep(0.02)
        redis.stop(signal.SIGKILL)
        assert_only_predicting(client)
        redis.start()
        after_s, late = accepted_after(client, ask(7.0))
        print(f"accepts jobs again {after_s:.1f} s after Redis is back, with one running")
        assert after_s < RECOVERED_S
        jobs += [late]
        assert [await_final(client, job)["status"] for job in jobs] == ["done"] * len(jobs)


@pytest.mark.faults
def test_redis_may_start_after_the_service(start, redis):
    service = start("--redis-url", redis.url)
    with service.client() as client:
        assert_only_predicting(client)
        # A worker of this machine needs no Redis for an explanation that a caller waits for.
        end = time.monotonic() + 30
        while (answer := client.post("/explain", json=ask(6.0))).status_code == 503:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert answer.status_code == 200, answer.text
        redis.start()
        after_s, job = accepted_after(client, ask(5.0, 5.0))
        assert await_final(client, job)["status"] == "done"
        print(f"explains {after_s:.1f} s after the start of Redis")
        assert after_s < RECOVERED_S
