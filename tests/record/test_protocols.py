"""Decisions of every protocol are recorded, with what was sent and what was answered."""

import sqlite3
import time
from pathlib import Path

import pytest

from tests.conftest import example, some, start_service
from whyserve.record.store import Store
from whyserve.record.verify import verify


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('record')}/record.sqlite3"


@pytest.fixture(scope="module")
def recorded(artifacts, place, tmp_path_factory):
    models, artifacts = some(artifacts, tmp_path_factory.mktemp("some"), "wine")
    settings = {"WHYSERVE_RECORD": place, "WHYSERVE_RECORD_SYNC": "1"}
    running = start_service(artifacts, tmp_path_factory.mktemp("state"), models=models, **settings)
    running.await_line("ready on ")
    with running.client() as client:
        yield client
    assert running.stop() == 0, running.output


@pytest.fixture
def store(place):
    opened = Store(place)
    yield opened
    opened.close()


def v2(client):
    described = client.get("/v2/models/wine").json()["inputs"][0]
    count = described["shape"][1]
    return {"inputs": [{**described, "shape": [1, count], "data": [1.0] * count}]}


@pytest.mark.parametrize("what", ["predict", "explain"])
@pytest.mark.parametrize("protocol", ["own", "v1", "v2"])
def test_a_decision_of_each_protocol_is_recorded(what, protocol, recorded, store):
    body = v2(recorded) if protocol == "v2" else example("wine")
    verb = {"predict": "infer", "explain": "explain"}[what] if protocol == "v2" else what
    path = {"own": f"/{verb}", "v1": f"/v1/models/wine:{verb}", "v2": f"/v2/models/wine/{verb}"}[protocol]
    if protocol == "v1":
        del body["model"]
    answer = recorded.post(path, json=body, headers={"X-Request-Id": "order-1"}).raise_for_status()
    found = store.find(answer.headers["x-prediction-id"])
    content = found.content
    assert content.body == answer.request.content
    assert content.answer == answer.content
    assert found.head["path"] == path
    assert found.head["request_id"] == "order-1"
    assert (found.head["model"], found.head["rows"]) == ("wine", 1)
    (array,) = content.arrays.values()
    assert array.shape == (1, len(example("wine")["instances"][0]))
    assert (content.explained is not None) == (what == "explain")
    if what == "explain":
        assert content.explained["explanations"][0]["outputs"][0]["attributions"]
        assert found.head["asked"]["seed"] == 0
    assert not list(verify(store))


def test_a_search_of_counterfactuals_is_recorded(recorded, store):
    answer = recorded.post("/counterfactual", json=example("wine")).raise_for_status()
    found = store.find(answer.headers["x-prediction-id"])
    assert (found.head["kind"], found.head["rows"]) == ("counterfactual", 1)
    assert found.content.body == answer.request.content
    assert found.content.answer == answer.content


def test_a_search_of_counterfactuals_over_v2_is_recorded(recorded, store):
    body = {**v2(recorded), "parameters": {"counterfactual": True}}
    answer = recorded.post("/v2/models/wine/explain", json=body).raise_for_status()
    found = store.find(answer.headers["x-prediction-id"])
    assert (found.head["kind"], found.head["rows"]) == ("counterfactual", 1)
    assert found.content.answer == answer.content


def test_a_refused_request_is_no_decision(recorded, store):
    count = len(store.heads(limit=1000))
    answer = recorded.post("/predict", json={"model": "wine", "instances": [{}]})
    assert answer.status_code == 422
    assert "x-prediction-id" not in answer.headers
    assert len(store.heads(limit=1000)) == count


def test_a_picture_has_its_explanation_in_the_record(recorded, store):
    headers = {"Accept": "image/svg+xml"}
    answer = recorded.post("/explain", json=example("wine"), headers=headers).raise_for_status()
    found = store.find(answer.headers["x-prediction-id"])
    assert found.content.answer == answer.content
    assert found.content.explained["explanations"]


def test_a_promised_explanation_is_recorded_when_it_is_delivered(recorded, store):
    answer = recorded.post("/explain", json={**example("wine"), "seed": 7}, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    first = answer.headers["x-prediction-id"]
    for _ in range(200):
        answer = recorded.get(f"/explanations/{answer.json()['id']}")
        if answer.json()["status"] == "done":
            break
        time.sleep(0.1)
    second = answer.headers["x-prediction-id"]
    assert store.find(second).content.explained == answer.json()["result"]
    assert store.find(first).related == [second]


def test_without_sync_a_decision_is_on_disk_within_a_second(light, tmp_path):
    models, artifacts = light
    place = f"sqlite:///{tmp_path}/record.sqlite3"
    running = start_service(artifacts, tmp_path / "state", models=models, WHYSERVE_RECORD=place)
    running.await_line("ready on ")
    try:
        with running.client() as client:
            for _ in range(20):
                found = client.post("/predict", json=example("fclayer")).headers["x-prediction-id"]
            time.sleep(1)
            with sqlite3.connect(tmp_path / "record.sqlite3") as db:
                assert db.execute("SELECT count(*) FROM records WHERE id = ?", (found,)).fetchone() == (1,)
            db.close()
    finally:
        assert running.stop() == 0, running.output
    store = Store(place)
    assert len(store.heads(limit=100)) == 20
    assert not list(verify(store))
    store.close()


@pytest.mark.parametrize("required", ["true", "false"])
def test_a_record_that_cannot_be_made(required, light, tmp_path):
    models, artifacts = light
    place, settings = f"sqlite:///{tmp_path}/none/record.sqlite3", {"WHYSERVE_RECORD_REQUIRED": required}
    running = start_service(artifacts, tmp_path / "state", models=models, WHYSERVE_RECORD=place, **settings)
    running.await_line("ready on ")
    try:
        with running.client() as client:
            answers = [
                client.post("/predict", json=example("fclayer")),
                client.post("/explain", json=example("fclayer")),
            ]
            old = client.post("/v1/models/fclayer:explain", json={"instances": example("fclayer")["instances"]})
            if required == "true":
                assert [each.status_code for each in [*answers, old]] == [503, 503, 503]
                assert {each.json()["code"] for each in answers} == {"record_unavailable"}
                assert "error" in old.json()
                Path(tmp_path / "none").mkdir()  # the database is back
                for _ in range(50):
                    back = client.post("/predict", json=example("fclayer"))
                    if back.status_code == 200:
                        break
                    time.sleep(0.1)
                assert "x-prediction-id" in back.headers
            else:
                assert [each.status_code for each in [*answers, old]] == [200, 200, 200]
                assert not any("x-prediction-id" in each.headers for each in answers)
    finally:
        assert running.stop() == 0, running.output
