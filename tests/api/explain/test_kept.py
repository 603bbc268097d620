"""What a service does not keep: dropped results, answers that its callers received, and answers that are too large."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Running, example, rows_of, some, start_service
from whyserve.api.middleware.keys import fresh
from whyserve.queues.queue_file import QUEUE_FILE

KEYS = {name: fresh(name, ["explain"]) for name in ("ann", "bob")}
BOUND_MB, KEEP_S = 2, 20
ASYNC = {"Prefer": "respond-async"}
MIB = 1 << 20
ELEMENTS: dict[str, Any] = {"players": {"image": {"elements": True}}}  # their answers are larger than those of patches


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def service(artifacts: Path, state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models, artifacts = some(artifacts, tmp_path_factory.mktemp("some"), "breast_cancer", "digits", "fclayer")
    keys = ";".join(line for _, line in KEYS.values())
    flags = ["--keep-results-mb", str(BOUND_MB), "--keep-results-s", str(KEEP_S), "--max-answer-mb", "1"]
    service = start_service(artifacts, state, *flags, models=models, WHYSERVE_KEYS=keys)
    service.await_line("ready on ")
    yield service
    assert service.stop() == 0, service.output


@pytest.fixture(scope="module", autouse=True)
def early(service: Running) -> tuple[float, str]:
    """When an answer was received, and its id: before all tests, so that its time passes during them."""
    with service.client(headers={"X-API-Key": KEYS["ann"][0]}) as client:
        identity = client.post("/explain", json={**example("fclayer"), "seed": 40}).json()["id"]
    return time.time(), identity


@pytest.fixture
def ann(service: Running) -> Iterator[httpx.Client]:
    with service.client(headers={"X-API-Key": KEYS["ann"][0]}) as client:
        yield client


@pytest.fixture
def bob(service: Running) -> Iterator[httpx.Client]:
    with service.client(headers={"X-API-Key": KEYS["bob"][0]}) as client:
        yield client


def codes(client: httpx.Client, identity: str) -> set[tuple[int, str]]:
    place = f"/explanations/{identity}"
    answers = [client.get(place), client.delete(place), client.get(f"{place}/events"),
               client.get(place, headers={"Accept": "image/png"})]  # fmt: skip
    return {(answer.status_code, answer.json()["code"]) for answer in answers}


def final(client: httpx.Client, identity: str) -> httpx.Response:
    while (answer := client.get(f"/explanations/{identity}")).status_code == 200:
        if answer.json()["status"] not in {"queued", "running"}:
            break
        time.sleep(0.02)
    return answer


def test_an_answer_that_was_never_kept_is_gone_for_its_owner_and_unknown_to_others(ann, bob):
    request = {**example("fclayer"), "seed": 41}
    identity = ann.post("/explain", json=request).json()["id"]
    assert codes(ann, identity) == {(410, "explanation_gone")}
    assert codes(bob, identity) == {(404, "unknown_explanation")}
    # A later picture is the same request.
    picture = ann.post("/explain", json=request, headers={"Accept": "image/png"})
    assert (picture.status_code, picture.headers["X-Cache"]) == (200, "hit")


def test_a_result_that_newer_ones_replaced_is_gone(ann, bob, state):
    rows = rows_of("breast_cancer", 64)
    ids = []
    for seed in range(16):
        request = {
            "model": "breast_cancer",
            "instances": rows,
            "seed": seed,
            "outputs": "all",
            "method": "deep",
        }
        ids.append(ann.post("/explain", json=request, headers=ASYNC).json()["id"])
        assert final(ann, ids[-1]).json()["status"] == "done"
    assert codes(ann, ids[0]) == {(410, "explanation_gone")}
    assert codes(bob, ids[0]) == codes(bob, ids[-1]) == {(404, "unknown_explanation")}
    assert final(ann, ids[-1]).json()["result"]["explanations"]
    assert (state / QUEUE_FILE).stat().st_size < (BOUND_MB + 5) * MIB


def test_an_answer_that_would_be_too_large_is_refused_before_it_is_computed(ann):
    request: dict[str, Any] = {
        "model": "digits",
        "instances": rows_of("digits", 200),
        "outputs": "all",
        "method": "deep",
        **ELEMENTS,
    }
    for headers in ({}, ASYNC, {"Idempotency-Key": "k"}):
        refused = ann.post("/explain", json=request, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (422, "answer_too_large")
        assert "WHYSERVE_MAX_ANSWER_MB" in refused.json()["detail"]
        assert "outputs" in refused.json()["detail"]
        assert refused.json()["errors"][0]["field"] == "instances"
    assert ann.post("/explain", json={**request, "instances": request["instances"][:20]}).status_code == 200


def test_many_asynchronous_jobs_with_pictures_stay_within_the_bound(ann, state):
    """Each is accepted, or refused for now; every accepted one is answered."""
    file, largest, accepted = state / QUEUE_FILE, 0, []
    for seed in range(100, 124):  # none of them is in the cache
        request = {"model": "digits", "instances": rows_of("digits", 40), "outputs": "all", "seed": seed, **ELEMENTS}
        answer = ann.post("/explain", json={**request, "method": "deep"}, headers=ASYNC)
        assert answer.status_code in {202, 503}
        if answer.status_code == 202:
            accepted.append(answer.json()["id"])
        else:
            assert answer.json()["code"] == "queue_full"
        largest = max(largest, file.stat().st_size)
    assert accepted
    outcomes = [final(ann, identity) for identity in accepted]
    assert {answer.status_code for answer in outcomes} <= {200, 410}
    assert {answer.json()["status"] for answer in outcomes if answer.status_code == 200} <= {"done"}
    assert outcomes[-1].status_code == 200
    assert max(largest, file.stat().st_size) < (BOUND_MB + 5) * MIB


def test_an_answer_that_was_never_kept_is_unknown_after_its_time(ann, early):
    received, identity = early
    time.sleep(max(0.0, received + KEEP_S + 1.1 - time.time()))
    assert codes(ann, identity) == {(404, "unknown_explanation")}
