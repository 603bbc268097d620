"""While the only worker computes something long, other explanations do not wait for its end."""

import contextlib
import os
import signal
import threading
import time
from typing import Any

import httpx
import pytest

from tests.conftest import example, rows_of, start_service
from tests.faults.conftest import ASYNC, SLOW, SOMEWHAT, ask, metric, outcome
from tests.faults.test_worker import await_final
from tests.queues.redis_server import RedisServer
from tests.test_service import children
from whyserve.api.middleware.keys import fresh

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


KEYS = {name: fresh(name, ["explain", "admin"]) for name in ("ann", "bob")}
# The longest time without an offer to give way is that in which coalitions are chosen: a second on an idle machine.
ANSWERED_S, LONG_S = 15.0, 10.0


def key(name: str) -> dict[str, str]:
    return {"X-API-Key": KEYS[name][0]}


@pytest.fixture(scope="module")
def with_keys(artifacts, tmp_path_factory):
    lines = ";".join(line for _, line in KEYS.values())
    service = start_service(artifacts, tmp_path_factory.mktemp("q"), "--cache-mb", "0", WHYSERVE_KEYS=lines)
    service.await_line(r"ready on ")
    yield service
    assert service.stop() == 0, service.output


def unfinished(client: httpx.Client) -> float:
    return sum(metric(client, name, key("ann")) for name in ("whyserve_direct_waiting", "whyserve_queue_depth"))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["direct", "queue"])
@pytest.mark.parametrize("method", ["permutation", "gradient", "kernel"])
def test_a_key_with_a_hundred_thousand_samples_keeps_no_other_key_waiting(method, way, with_keys):
    """Three explanations that take minutes each, and meanwhile fourteen of another key for three models."""
    long = {"model": "breast_cancer", "instances": rows_of("breast_cancer", 20), "method": method, "samples": 100_000}

    def send(seed: int) -> None:
        with contextlib.suppress(httpx.ReadTimeout):  # the caller goes away, and the computation is cancelled
            answer = client.post("/explain", json={**long, "seed": seed}, headers=headers, timeout=LONG_S)
            assert answer.status_code == 202, answer.text
            ids.append(answer.json()["id"])

    ids: list[str] = []
    headers = key("ann") | (ASYNC if way == "queue" else {})
    callers = [threading.Thread(target=send, args=(seed,)) for seed in range(3)]
    with with_keys.client() as client:
        for caller in callers:
            caller.start()
        time.sleep(1)
        took = []
        for number in range(14):
            time.sleep(0.2)
            asked = {**example(("linear", "breast_cancer", "sunspots")[number % 3]), "seed": number}
            began = time.monotonic()
            answer = client.post("/explain", json=asked, headers=key("bob"))
            assert answer.status_code == 200, answer.text
            took.append(time.monotonic() - began)
        print(f"{method}: {1e3 * sorted(took)[7]:.0f} ms, at most {1e3 * max(took):.0f} ms")
        assert max(took) < ANSWERED_S
        assert unfinished(client) == 3, "the long ones ended too early"
        for caller in callers:
            caller.join()
        for each in ids:
            client.delete(f"/explanations/{each}", headers=key("ann"))
        end = time.monotonic() + 20
        while unfinished(client):
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "told to stop"])
def test_a_worker_that_ends_with_two_started_computations_loses_none(number, start):
    service = start("--cache-mb", "0")
    with service.client() as client:
        alone = await_final(client, summary(client, 1))["result"]
        outer = summary(client, 2)
        while outcome(client, outer)["progress"] == 0:
            pass
        answers: list[httpx.Response] = []
        caller = threading.Thread(target=lambda: answers.append(client.post("/explain", json=ask(SLOW))))
        caller.start()
        time.sleep(1)  # both are started
        assert outcome(client, outer)["status"] == "running"
        os.kill(children(service.process.pid)["worker"], number)
        state = await_final(client, outer)
        caller.join(60)
        assert answers[0].status_code == 200, answers[0].text
        expected = client.post("/explain", json=ask(SLOW)).json()
    assert answers[0].json()["explanations"] == expected["explanations"]
    assert state["status"] == "done"
    assert state["result"]["summary"] == alone["summary"]
