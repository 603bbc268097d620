"""While the only worker computes a long summary, single explanations do not wait for its end."""

from typing import Any

import httpx
import pytest

from tests.faults.conftest import SOMEWHAT, ask, outcome
from tests.faults.test_worker import await_final
from tests.queues.redis_server import RedisServer

ROWS = 600


@pytest.fixture
def redis(tmp_path):
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


def summary(client: httpx.Client, seed: int) -> str:
    """Submit a summary; returns its id. The seed keeps the cache from answering; the exact method ignores it."""
    rows = [{"a": number / ROWS, "b": SOMEWHAT} for number in range(ROWS)]
    body: dict[str, Any] = {"model": "frail", "instances": rows, "summary": True, "method": "exact", "seed": seed}
    accepted = client.post("/explain", json=body)
    assert accepted.status_code == 202, accepted.text
    return str(accepted.json()["id"])


@pytest.mark.slow
@pytest.mark.parametrize("with_redis", [False, True], ids=["embedded", "redis"])
def test_an_explanation_is_answered_while_a_summary_runs(with_redis, request):
    # The fixture of Redis first, so that Redis stops last.
    flags = ["--redis-url", request.getfixturevalue("redis").url] if with_redis else []
    service = request.getfixturevalue("start")(*flags)
    with service.client() as client:
        job = summary(client, 1)
        while outcome(client, job)["progress"] == 0:
            pass
        for number in range(3):
            assert client.post("/explain", json=ask(float(number))).status_code == 200
        assert outcome(client, job)["status"] == "running"
        disturbed = await_final(client, job)
        alone = await_final(client, summary(client, 2))
    assert disturbed["status"] == alone["status"] == "done"
    assert "complete" not in disturbed["result"]  # present only in incomplete results
    assert disturbed["result"]["summary"] == alone["result"]["summary"]
    assert disturbed["result"]["rows"] == ROWS
