"""Asynchronous explanations: address, progress, events, cancellation and cache."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Running, example, some, start_service

# Twenty players: all coalitions would take minutes.
SLOW = {
    "model": "sunspots", "instances": [{"past": [float(10 + year) for year in range(20)]}], "method": "permutation",
    "players": {},
}  # fmt: skip
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def other(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A separate service, because the slow requests here would delay other tests."""
    models, artifacts = some(artifacts, tmp_path_factory.mktemp("some"), "fclayer", "penguins", "sunspots")
    running = start_service(artifacts, tmp_path_factory.mktemp("state"), models=models)
    yield running
    assert running.stop() == 0, running.output


@pytest.fixture(scope="module")
def asker(other: Running) -> Iterator[httpx.Client]:
    with other.client() as client:
        yield client


def slow(samples: int, seed: int = 0) -> dict[str, Any]:
    return {**SLOW, "samples": samples, "seed": seed}


def await_status(asker, place, *wanted):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        state = asker.get(place).json()
        if state["status"] in wanted:
            return state
        time.sleep(0.02)
    raise AssertionError(state)


def test_an_asynchronous_explanation_is_at_its_location(asker):
    asked = {**example("penguins"), "seed": 11}
    accepted = asker.post("/explain", json=asked, headers=ASYNC)
    assert accepted.status_code == 202
    assert accepted.headers["Preference-Applied"] == "respond-async"
    assert accepted.json()["status"] in ("queued", "running", "done")
    assert accepted.headers["Location"] == f"/explanations/{accepted.json()['id']}"
    done = await_status(asker, accepted.headers["Location"], "done")
    assert done["progress"] == 1
    waited = asker.post("/explain", json=asked).json()
    assert done["result"]["explanations"] == waited["explanations"]


def test_prefer_wait_limits_the_wait(asker):
    answered = asker.post(
        "/explain", json={**example("fclayer"), "seed": 3}, headers={"Prefer": "respond-async, wait=20"}
    )
    assert answered.status_code == 200
    accepted = asker.post("/explain", json=slow(100_000), headers={"Prefer": "wait=1"})
    assert accepted.status_code == 202
    assert "Preference-Applied" not in accepted.headers
    asker.delete(accepted.headers["Location"])


def test_a_cancelled_explanation_frees_the_worker(asker):
    place = asker.post("/explain", json=slow(100_000, 1), headers=ASYNC).headers["Location"]
    await_status(asker, place, "running")
    assert asker.delete(place).json()["status"] == "cancelled"
    assert asker.get(place).json()["status"] == "cancelled"
    assert asker.post("/explain", json={**example("fclayer"), "seed": 4}).status_code == 200
    assert asker.delete(place).json()["status"] == "cancelled"


def test_an_idempotency_key_computes_once(asker):
    headers = {**ASYNC, "Idempotency-Key": "the-same"}
    first, again = (asker.post("/explain", json=slow(3, 2), headers=headers) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    other = asker.post("/explain", json=slow(4, 2), headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    waited = asker.post("/explain", json=slow(3, 2), headers={"Idempotency-Key": "the-same"})
    assert waited.json()["id"] == first.json()["id"]
    assert asker.post("/explain", json=slow(3), headers={"Idempotency-Key": "a b"}).status_code == 422


def test_an_idempotency_key_bypasses_the_cache(asker):
    asked = {**example("penguins"), "seed": 21}
    known = asker.post("/explain", json=asked)
    assert asker.post("/explain", json=asked).headers["X-Cache"] == "hit"
    first, again = (asker.post("/explain", json=asked, headers={"Idempotency-Key": "a-key"}) for _ in range(2))
    assert first.headers["X-Cache"] == again.headers["X-Cache"] == "miss"
    assert known.json()["id"] != first.json()["id"] == again.json()["id"]
    assert first.json()["explanations"] == known.json()["explanations"]


def test_an_answer_fetched_later_is_cached(asker):
    asked = {**example("penguins"), "seed": 22}
    place = asker.post("/explain", json=asked, headers=ASYNC).headers["Location"]
    done = await_status(asker, place, "done")
    again = asker.post("/explain", json=asked)
    assert (again.status_code, again.headers["X-Cache"]) == (200, "hit")
    assert again.json()["id"] == done["id"]
    assert again.json()["explanations"] == done["result"]["explanations"]
    # The same for an explanation that was followed by events.
    asked["seed"] = 23
    place = asker.post("/explain", json=asked, headers=ASYNC).headers["Location"]
    with asker.stream("GET", f"{place}/events") as events:
        events.read()
    assert asker.post("/explain", json=asked).headers["X-Cache"] == "hit"


def test_each_explanation_is_counted_once(asker):
    def counted(name):
        labels = r'\{method="permutation",model="sunspots"\}'
        found = re.search(rf"^whyserve_explanation_{name}_count{labels} (\S+)", asker.get("/metrics").text, re.M)
        return float(found[1]) if found else 0.0

    before = counted("seconds"), counted("residual")
    place = asker.post("/explain", json=slow(2, 31), headers=ASYNC).headers["Location"]
    await_status(asker, place, "done")
    asker.post("/explain", json=slow(2, 32)).raise_for_status()
    for _ in range(2):
        assert (counted("seconds"), counted("residual")) == (before[0] + 2, before[1] + 2)


def test_events_report_progress_until_the_end(asker):
    place = asker.post("/explain", json=slow(400, 5), headers=ASYNC).headers["Location"]
    events: list[tuple[str, dict[str, Any]]] = []
    with asker.stream("GET", f"{place}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for block in stream.read().decode().split("\n\n"):
            if block.startswith("event: "):
                name, _, data = block.partition("\ndata: ")
                events.append((name.removeprefix("event: "), json.loads(data)))
    assert [name for name, _ in events[:-1]] == ["progress"] * (len(events) - 1)
    shares = [data["progress"] for _, data in events]
    assert shares == sorted(shares)
    assert len(set(shares)) > 2
    errors = [data["standard_error"] for _, data in events if "standard_error" in data]
    assert 0 < errors[-1] < errors[0] < 1
    assert len(set(errors)) > 2
    name, last = events[-1]
    assert name == last["status"] == "done"
    assert last["result"]["method"] == "permutation"


def test_a_disconnect_cancels_the_explanation(asker):
    with pytest.raises(httpx.ReadTimeout):
        asker.post("/explain", json=slow(100_000, 6), timeout=1)
    # Without the cancellation the worker would be busy for minutes.
    assert asker.post("/explain", json={**example("fclayer"), "seed": 5}).status_code == 200


def test_at_the_deadline_a_sampled_result_is_incomplete(asker):
    answer = asker.post("/explain", json={**slow(100_000, 7), "deadline_s": 2}).json()
    assert answer["complete"] is False
    (output,) = answer["explanations"][0]["outputs"]
    assert abs(output["residual"]) < 1e-3 * abs(output["value"])
    assert any(error > 0 for error in output["standard_errors"]["past"])


def test_equal_requests_are_computed_once(asker):
    asked = {**example("penguins"), "seed": 8}
    first, again = asker.post("/explain", json=asked), asker.post("/explain", json=asked)
    assert (first.headers["X-Cache"], again.headers["X-Cache"]) == ("miss", "hit")
    assert again.json()["cached"] is True
    assert again.json()["explanations"] == first.json()["explanations"]
    other = asker.post("/explain", json={**asked, "seed": 9})
    assert other.headers["X-Cache"] == "miss"


@pytest.mark.parametrize("headers", [{}, ASYNC])
def test_an_id_beside_an_instance_comes_back(headers, asker):
    (row,) = example("fclayer")["instances"]
    asked, others = {"model": "fclayer", "seed": 40 + len(headers)}, [row, {**row, "id": 4}]
    first, again = [{**asked, "instances": [{**row, "id": name}, *others]} for name in ("c-17", "c-18")]
    answer = asker.post("/explain", json=first, headers=headers).raise_for_status()
    found = await_status(asker, answer.headers["Location"], "done")["result"] if headers else answer.json()
    assert [each.get("id") for each in found["explanations"]] == ["c-17", None, 4]
    assert found["explanations"][0]["outputs"] == found["explanations"][1]["outputs"]
    found = asker.post("/explain", json=again).json()
    assert [each.get("id") for each in found["explanations"]] == ["c-18", None, 4]


def test_an_id_is_a_short_text_or_an_exact_number_and_has_no_meaning_in_predict(asker):
    (row,) = example("fclayer")["instances"]
    for wrong in ([1], "x" * 201, 2**53 + 1, 1.5, None):
        refused = asker.post("/explain", json={"model": "fclayer", "instances": [{**row, "id": wrong}]})
        assert refused.status_code == 422
    assert asker.post("/predict", json={"model": "fclayer", "instances": [{**row, "id": 1}]}).status_code == 422
