"""A service with all that keeps a record small: hidden columns, retention, and a second store of checkpoints."""

import json
import sqlite3
from typing import Any

import numpy as np
import pytest

from tests.conftest import start_service
from tests.export.folders import torch_folder
from tests.record.test_later import whyserve
from tests.record.test_store import add
from whyserve.export.build import export_all
from whyserve.record.chain import Chain, now_us
from whyserve.record.store import Store

pytestmark = pytest.mark.slow

DAY = 86_400 * 10**6
# Not those of any background row. The third one is sent as a limit.
OMITTED, HASHED, LIMIT = 1.2345678, -2.3456789, 9.8765432
ROW = {"a": OMITTED, "b": HASHED}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("hidden")


@pytest.fixture(scope="module")
def place(root):
    """A record with decisions of the day before yesterday and of this morning."""
    store, chain = Store(f"sqlite:///{root}/record.sqlite3"), Chain()
    add(store, chain, 3, time=now_us() - 2 * DAY, model="old")
    add(store, chain, 3, time=now_us() - DAY // 2, model="recent")
    store.close()
    return f"sqlite:///{root}/record.sqlite3"


@pytest.fixture(scope="module")
def running(root, place):
    folder = torch_folder(root / "models", "small")
    with (folder / "model.toml").open("a") as file:
        file.write('[explain]\nshow_background = true\n[record]\nomit = ["a"]\nhash = ["b"]\n')
    export_all(root / "models", root / "artifacts", 20, lambda _: None)
    settings = {
        "WHYSERVE_RECORD": place, "WHYSERVE_RECORD_SYNC": "true", "WHYSERVE_RECORD_KEEP_DAYS": "1",
        "WHYSERVE_RECORD_CHECKPOINTS": str(root / "checkpoints"), "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    made = start_service(root / "artifacts", root / "q", models=root / "models", **settings)
    made.await_line("ready on ")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def client(running):
    with running.client() as made:
        yield made


def requests() -> dict[str, tuple[str, dict[str, Any]]]:
    one = {"model": "small", "instances": [ROW]}
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [OMITTED, HASHED]}
    limits = {"a": {"range": [-LIMIT, LIMIT]}}
    return {
        "predict": ("/predict", {**one, "out_of_range": True}),
        "columns": ("/predict", {"model": "small", "columns": {"a": [OMITTED], "b": [HASHED]}}),
        "explain": ("/explain", {**one, "similar": 1, "background": [ROW, {"a": 0.5, "b": 0.25}]}),
        "counterfactual": ("/counterfactual", {**one, "changes": limits}),
        "v1": ("/v1/models/small:predict", {"instances": [ROW]}),
        "v1 explain": ("/v1/models/small:explain", {"instances": [ROW]}),
        "v2": ("/v2/models/small/infer", {"inputs": [tensor]}),
        "v2 explain": ("/v2/models/small/explain", {"inputs": [tensor]}),
    }


def forms(value: float) -> list[bytes]:
    return [str(value).encode(), str(np.float32(value)).encode(), np.float32(value).tobytes()]


@pytest.mark.parametrize("how", requests())
def test_hidden_values_are_nowhere_in_the_database(how, client, root):
    path, body = requests()[how]
    answer = client.post(path, json=body).raise_for_status()
    found = client.get(f"/predictions/{answer.headers['x-prediction-id']}").raise_for_status().json()
    assert found["network_input"] == {"x": [[None, None]]}
    stored = (root / "record.sqlite3").read_bytes() + (root / "record.sqlite3-wal").read_bytes()
    assert answer.headers["x-prediction-id"].encode() in stored
    for value in (OMITTED, HASHED, LIMIT):
        for form in forms(value):
            assert form not in stored, form
    if how.startswith("v2"):
        assert "sent" not in found
        return
    sent = found["sent"].get("instances", [found["sent"].get("columns")])[0]
    assert set(sent) == {"b"}
    again = client.post(path, json=body).headers["x-prediction-id"]
    assert client.get(f"/predictions/{again}").json()["sent"] == found["sent"]  # equal values, equal hashes
    assert "hmac-sha256:" in json.dumps(sent)


def test_what_was_hidden_cannot_be_explained_again(client):
    made = client.post("/predict", json={"model": "small", "instances": [ROW]}).headers["x-prediction-id"]
    answer = client.post("/explain", json={"prediction": made})
    assert (answer.status_code, answer.json()["code"]) == (410, "prediction_gone")
    assert "the record does not hold a, b" in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] == "prediction"


def test_old_decisions_are_gone(client):
    assert client.get("/predictions", params={"model": "old"}).json()["predictions"] == []
    assert len(client.get("/predictions", params={"model": "recent"}).json()["predictions"]) == 3


def test_a_cut_end_is_found_with_the_second_store(client, running, root, place):
    """Last of this file: it stops the service, which writes its last checkpoint."""
    client.post("/predict", json={"model": "small", "instances": [ROW]}).raise_for_status()
    assert running.stop() == 0, running.output
    second = root / "checkpoints"
    end = json.loads(second.read_text().splitlines()[-1])
    for more in ([], ["--checkpoints", second]):
        done = whyserve("record", "verify", *more, WHYSERVE_RECORD=place)
        assert done.returncode == 0, done
    # Somebody who knows the tables removes the last decision, with the checkpoint that names it.
    with sqlite3.connect(root / "record.sqlite3") as db:
        gone = "writer = ? AND seq >= ?"
        db.execute(f"DELETE FROM records WHERE {gone}", (end["writer"], end["seq"] - 1))
        last = "SELECT hash FROM records WHERE writer = ? AND seq = ?"
        (left,) = db.execute(last, (end["writer"], end["seq"] - 2)).fetchone()
        db.execute("UPDATE chains SET seq = ?, hash = ? WHERE writer = ?", (end["seq"] - 2, left, end["writer"]))
    db.close()
    assert whyserve("record", "verify", WHYSERVE_RECORD=place).returncode == 0
    done = whyserve("record", "verify", "--checkpoints", second, WHYSERVE_RECORD=place)
    assert done.returncode == 1
    assert f"chain {end['writer']}, record {end['seq'] - 1}: a checkpoint names this record, but it is missing" in (
        done.stdout
    )
    for content, words in (("{", "line 1: is no checkpoint"), (None, "cannot be read")):
        wrong = root / "wrong"
        wrong.unlink(missing_ok=True)
        if content:
            wrong.write_text(content)
        done = whyserve("record", "verify", "--checkpoints", wrong, WHYSERVE_RECORD=place)
        assert (done.returncode, words in done.stdout + done.stderr) == (1, True), done
