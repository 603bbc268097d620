"""Explanations that a caller waits for: nothing is kept of them, unless the caller is told to come back."""

import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import example, some, start_service
from tests.queues.redis_server import RedisServer
from whyserve.queues.queue_file import QUEUE_FILE

# Twenty players: all coalitions would take minutes.
SLOW = {
    "model": "sunspots", "instances": [{"past": [float(10 + year) for year in range(20)]}], "method": "permutation",
    "players": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def asker(artifacts: Path, state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    models, artifacts = some(artifacts, tmp_path_factory.mktemp("some"), "fclayer", "penguins", "sunspots")
    service = start_service(artifacts, state, models=models)
    with service.client() as client:
        yield client
    assert service.stop() == 0, service.output


def jobs(state: Path) -> list[tuple[Any, ...]]:
    """Of the queue: status and number of deliveries of each job."""
    db = sqlite3.connect(state / QUEUE_FILE)
    try:
        return db.execute("SELECT status, deliveries FROM jobs ORDER BY rowid").fetchall()
    finally:
        db.close()


def metric(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)", client.get("/metrics").text, re.M)
    return float(found[1]) if found else 0.0


def test_an_explanation_and_a_picture_that_a_caller_waits_for_are_not_in_the_queue(asker, state):
    counted = 'whyserve_explanation_seconds_count{method="exact",model="fclayer"}'
    before = metric(asker, counted)
    began = time.perf_counter()
    answer = asker.post("/explain", json={**example("fclayer"), "seed": 1})
    took_ms = 1e3 * (time.perf_counter() - began)
    assert answer.status_code == 200, answer.text
    timing = re.fullmatch(r"queue;dur=([\d.]+), compute;dur=([\d.]+)", answer.headers["Server-Timing"])
    assert timing
    assert 0 < float(timing[1]) + float(timing[2]) < took_ms
    picture = asker.post("/explain", json={**example("fclayer"), "seed": 2}, headers={"Accept": "image/svg+xml"})
    assert picture.status_code == 200, picture.text
    assert picture.content.startswith(b"<?xml")
    assert jobs(state) == []
    assert metric(asker, "whyserve_direct_waiting") == 0
    assert metric(asker, counted) == before + 2
    assert metric(asker, 'whyserve_explanation_residual_count{method="exact",model="fclayer"}') == before + 2


def test_an_answer_from_the_cache_has_the_same_rows(asker):
    request = {**example("penguins"), "seed": 3}
    first, again = asker.post("/explain", json=request), asker.post("/explain", json=request)
    assert (first.headers["X-Cache"], again.headers["X-Cache"]) == ("miss", "hit")
    assert "Server-Timing" not in again.headers
    assert again.json() == {**first.json(), "cached": True}


def test_a_wait_beyond_its_limit_goes_on_in_the_queue(asker, state):
    before = len(jobs(state))
    accepted = asker.post("/explain", json={**SLOW, "samples": 4000, "deadline_s": 4}, headers={"Prefer": "wait=1"})
    assert accepted.status_code == 202, accepted.text
    assert accepted.json()["status"] == "running"
    progress = []
    while (found := asker.get(accepted.headers["Location"]).json())["status"] == "running":
        progress.append(found["progress"])
        time.sleep(0.05)
    assert found["status"] == "done", found
    assert found["result"]["id"] == accepted.json()["id"]
    assert len(set(progress)) > 1
    # It was delivered once: promoted, and not started again.
    assert jobs(state)[before:] == [("done", 1)]
    cached = asker.post("/explain", json=SLOW | {"samples": 4000}).json() if "complete" not in found["result"] else None
    assert cached is None or cached["cached"]


def test_a_promoted_explanation_is_cancelled(asker, state):
    accepted = asker.post("/explain", json={**SLOW, "samples": 100_000}, headers={"Prefer": "wait=1"})
    assert accepted.status_code == 202, accepted.text
    assert asker.delete(accepted.headers["Location"]).json()["status"] == "cancelled"
    # Without the cancellation the worker would be busy for minutes.
    assert asker.post("/explain", json={**example("fclayer"), "seed": 4}).status_code == 200
    assert asker.get(accepted.headers["Location"]).json()["status"] == "cancelled"


def test_an_error_of_the_worker_is_answered_like_one_of_the_queue(asker):
    late = {**SLOW, "samples": 100_000, "method": "kernel", "deadline_s": 1e-6}
    answer = asker.post("/explain", json=late)
    assert (answer.status_code, answer.json()["code"]) == (504, "explanation_timeout")


def test_without_a_worker_requests_wait_and_are_then_queued(start_api):
    api = start_api("--queue-depth", "2")
    with httpx.Client(base_url=api.address, trust_env=False, timeout=20) as client:
        accepted = client.post("/explain", json=example("fclayer"), headers={"Prefer": "wait=1"})
        assert (accepted.status_code, accepted.json()["status"]) == (202, "queued")
        assert metric(client, "whyserve_queue_depth") == 1
        began = time.monotonic()
        late = client.post("/explain", json={**example("fclayer"), "deadline_s": 0.5})
        assert (late.status_code, late.json()["code"]) == (504, "explanation_timeout")
        assert 0.4 < time.monotonic() - began < 5
        assert metric(client, "whyserve_direct_waiting") == 0
        for _ in range(3):  # a caller that leaves frees its place
            with pytest.raises(httpx.ReadTimeout):
                client.post("/explain", json=example("fclayer"), timeout=0.3)
        end = time.monotonic() + 5
        while metric(client, "whyserve_direct_waiting") and time.monotonic() < end:
            time.sleep(0.02)
        assert metric(client, "whyserve_direct_waiting") == 0


def test_with_redis_a_request_waits_for_a_worker_too(start_api, tmp_path):
    """Until it is queued, the request waits in the API: a worker of any machine may come."""
    redis = RedisServer(tmp_path)
    try:
        api = start_api("--redis-url", redis.url)
        with httpx.Client(base_url=api.address, trust_env=False, timeout=20) as client:
            for preference in ("respond-async", "wait=1"):
                accepted = client.post("/explain", json=example("fclayer"), headers={"Prefer": preference})
                assert (accepted.status_code, accepted.json()["status"]) == (202, "queued"), accepted.text
                assert metric(client, "whyserve_direct_waiting") == 0
            assert metric(client, "whyserve_queue_depth") == 2
            redis.stop(signal.SIGKILL)
            time.sleep(0.5)  # until the API has noticed
            began = time.monotonic()
            refused = client.post("/explain", json=example("fclayer"))
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert "Retry-After" in refused.headers
            assert time.monotonic() - began < 5
    finally:
        redis.stop()
