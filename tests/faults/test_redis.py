"""Redis dies, comes back, or is not there yet: predicting goes on, and no accepted explanation is lost."""

import signal
import time

import httpx
import pytest

from tests.faults.conftest import SLOW, ask, submit
from tests.faults.test_worker import await_final
from tests.queues.redis_server import RedisServer


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
    refused = client.post("/explain", json=ask(1.0))
    assert refused.status_code == 503, refused.text
    assert "Retry-After" in refused.headers


def recovered_after(client: httpx.Client, row: dict[str, object]) -> float:
    began = time.monotonic()
    while client.post("/explain", json=row).status_code != 200:
        assert time.monotonic() - began < 30
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.mark.faults
def test_redis_killed_and_started_again_loses_nothing(start, redis):
    redis.start()
    service = start("--redis-url", redis.url)
    with service.client() as client:
        jobs = [submit(client, SLOW, 1.0), *(submit(client, float(number)) for number in range(30))]
        redis.stop(signal.SIGKILL)
        assert_only_predicting(client)
        redis.start()
        after_s = recovered_after(client, ask(5.0, 5.0))
        print(f"explains again {after_s:.1f} s after Redis is back")
        assert [await_final(client, job)["status"] for job in jobs] == ["done"] * len(jobs)
        # One of them takes SLOW_S by itself, and may stand in the way.
        assert after_s < 5 + 3


@pytest.mark.faults
def test_redis_that_comes_after_the_service(start, redis):
    service = start("--redis-url", redis.url)
    with service.client() as client:
        assert_only_predicting(client)
        redis.start()
        after_s = recovered_after(client, ask(5.0, 5.0))
        print(f"explains {after_s:.1f} s after Redis is there")
        assert after_s < 5
