"""A recorded decision later: found, listed, explained again, erased."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.conftest import ROOT, Running, example, rows_of, start_service
from tests.export.folders import torch_folder
from tests.record.conftest import by, post
from whyserve.export.build import export_all
from whyserve.record.store import Store
from whyserve.record.verify import verify


def test_a_decision_can_be_looked_up_with_the_scope_record_only(desk):
    made = post(desk, "/predict", example("wine"))
    place = f"/predictions/{made.headers['x-prediction-id']}"
    for name, status in (("desk", 403), ("officer", 403), ("audit", 200)):
        assert desk.get(place, headers=by(name)).status_code == status
    found = desk.get(place, headers=by("audit")).json()
    assert found["sent"] == example("wine")
    assert found["answer"] == made.json()
    assert (found["caller"], found["kind"], found["rows"]) == ("desk", "prediction", 1)


def test_decisions_are_listed_in_pages(desk):
    for _ in range(5):
        post(desk, "/predict", example("penguins"))
    seen, after = [], None
    while True:
        query = {"model": "penguins", "caller": "desk", "limit": 2, **({"after": after} if after else {})}
        page = desk.get("/predictions", params=query, headers=by("audit")).raise_for_status().json()
        seen += page["predictions"]
        if (after := page.get("next")) is None:
            break
    assert len({each["id"] for each in seen}) == len(seen) == 5
    assert [each["time"] for each in seen] == sorted(each["time"] for each in seen)
    last = {"model": "penguins", "from": seen[3]["time"], "to": seen[4]["time"]}
    page = desk.get("/predictions", params=last, headers=by("audit")).json()
    assert [each["id"] for each in page["predictions"]] == [seen[3]["id"]]


@pytest.mark.parametrize("model", ["wine", "places", "digits", "linear"])
def test_a_recorded_explanation_is_explained_again(model, desk):
    first = post(desk, "/explain", {**example(model), "seed": 3, "outputs": "top"}).raise_for_status()
    again = post(desk, "/explain", {"prediction": first.headers["x-prediction-id"]}).raise_for_status()
    replay = again.json().pop("replay")
    assert replay["may_differ"] == []
    assert again.json()["explanations"] == first.json()["explanations"]


@pytest.mark.parametrize(
    "how",
    [
        {"scale": "log_odds"},
        {"instead_of": "Adelie", "outputs": "all"},
        {"interactions": True},
        {"players": {"measured": {"groups": {"bill": ["bill_length_mm", "bill_depth_mm"]}}}},
        {"reasons": True, "language": "de"},
        {"similar": 2},
    ],
    ids=lambda how: next(iter(how)),
)
def test_every_option_of_an_explanation_is_repeated(how, desk):
    first = post(desk, "/explain", {**example("penguins"), **how}).raise_for_status()
    again = post(desk, "/explain", {"prediction": first.headers["x-prediction-id"]}).raise_for_status().json()
    assert again["replay"]["may_differ"] == []
    for key in ("explanations", "background", "scale", "instead_of", "players"):
        assert again.get(key) == first.json().get(key)


def test_a_promised_explanation_is_explained_again_when_it_was_delivered(desk):
    """Each row with its own label, as it was asked for."""
    body = {"model": "penguins", "instances": rows_of("penguins", 100)[::9]}
    promised = desk.post("/explain", json=body, headers={**by("desk"), "Prefer": "respond-async"}).raise_for_status()
    for _ in range(300):
        answer = desk.get(f"/explanations/{promised.json()['id']}", headers=by("desk"))
        if answer.json()["status"] == "done":
            break
        time.sleep(0.1)
    first = answer.json()["result"]["explanations"]
    assert len({each["outputs"][0]["output"] for each in first}) > 1
    for made in (promised, answer):
        again = post(desk, "/explain", {"prediction": made.headers["x-prediction-id"]}).raise_for_status().json()
        assert again["explanations"] == first


def test_a_recorded_prediction_is_explained_later_by_row(desk):
    rows = rows_of("wine", 3)
    made = post(desk, "/predict", {"model": "wine", "instances": rows}).headers["x-prediction-id"]
    whole = post(desk, "/explain", {"prediction": made}).raise_for_status().json()["explanations"]
    one = post(desk, "/explain", {"prediction": f"{made}.1", "method": "exact"}).raise_for_status().json()
    assert len(whole) == 3
    assert one["explanations"][0]["prediction"] == whole[1]["prediction"]
    assert one["replay"]["may_differ"] == ["this request sets method"]


def test_another_caller_needs_the_scope_record_to_explain(desk):
    made = post(desk, "/predict", example("wine")).headers["x-prediction-id"]
    assert post(desk, "/explain", {"prediction": made}, "other").status_code == 404
    assert post(desk, "/explain", {"prediction": made}, "audit").status_code == 200


def test_an_erased_row_is_nowhere_any_more(desk, desk_place):
    rows = rows_of("wine", 3)
    rows[1][next(iter(rows[1]))] = 13.123456789
    made = post(desk, "/predict", {"model": "wine", "instances": rows}).headers["x-prediction-id"]
    other = post(desk, "/explain", {"prediction": made}).headers["x-prediction-id"]
    # Explanations of one row, of an explanation, and of another row.
    ids = [post(desk, "/explain", {"prediction": each}).headers["x-prediction-id"]
           for each in (f"{made}.1", f"{other}.1", other, f"{made}.2")]  # fmt: skip
    assert set(desk.get(f"/predictions/{made}", headers=by("audit")).json()["related"]) == {other, *ids}
    assert post(desk, f"/predictions/{made}.1/erase", {}, "audit").status_code == 403
    assert post(desk, f"/predictions/{made}.1/erase", {}, "officer").json()["records"] == 5
    with sqlite3.connect(desk_place.removeprefix("sqlite:///")) as db:
        for (content,) in db.execute("SELECT content FROM records WHERE content IS NOT NULL"):
            assert b"13.123456789" not in content
            assert np.float32(13.123456789).tobytes() not in content
    db.close()
    left = [desk.get(f"/predictions/{each}", headers=by("audit")).json() for each in ids]
    assert ["answer" in each for each in left] == [False, False, True, True]
    assert "erased" not in left[3]
    found = desk.get(f"/predictions/{made}", headers=by("audit")).json()
    assert found["sent"]["instances"] == [rows[0], None, rows[2]]
    assert found["answer"]["predictions"][1] is None
    assert found["erased"] == [{"row": 1}]
    assert post(desk, "/explain", {"prediction": f"{made}.1"}).status_code == 410
    assert post(desk, "/explain", {"prediction": f"{made}.2"}).status_code == 200
    assert post(desk, f"/predictions/{other}/erase", {}, "officer").json()["records"] == 1
    assert "sent" not in desk.get(f"/predictions/{other}", headers=by("audit")).json()
    assert post(desk, f"/predictions/{made}/erase", {}, "officer").json()["records"] == 4
    path = desk_place.removeprefix("sqlite:///")
    with sqlite3.connect(path) as db:
        assert not [each for (each,) in db.execute("SELECT content FROM records WHERE id = ?", (made,)) if each]
    db.close()
    store = Store(desk_place)
    assert not list(verify(store))
    store.close()


def whyserve(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "whyserve.cli", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_the_command_verifies_exports_and_erases(desk, desk_place, tmp_path):
    made = post(desk, "/predict", example("wine")).headers["x-prediction-id"]
    done = whyserve("record", "verify", WHYSERVE_RECORD=desk_place)
    assert (done.returncode, done.stdout[:8]) == (0, "no fault"), done
    for name in ("all.jsonl", "all.parquet"):
        done = whyserve("record", "export", "-o", tmp_path / name, WHYSERVE_RECORD=desk_place)
        assert done.returncode == 0, done
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(tmp_path / "all.parquet").to_pylist() == lines
    mine = next(line for line in lines if line["id"] == made)
    assert json.loads(mine["sent"]) == example("wine")
    assert whyserve("record", "erase", made, WHYSERVE_RECORD=desk_place).returncode == 0
    assert whyserve("record", "verify", WHYSERVE_RECORD=desk_place).returncode == 0
    copy = tmp_path / "copy.sqlite3"
    with sqlite3.connect(desk_place.removeprefix("sqlite:///")) as db, sqlite3.connect(copy) as other:
        db.backup(other)
        other.execute(
            "UPDATE records SET head = replace(head, 'wine', 'wink') WHERE model = 'wine' AND kind = 'prediction'"
        )
    db.close()
    other.close()
    done = whyserve("record", "verify", WHYSERVE_RECORD=f"sqlite:///{copy}")
    assert done.returncode == 1
    assert "was changed" in done.stdout
    done = whyserve("record", "purge", "--before", "2100-01-01", WHYSERVE_RECORD=f"sqlite:///{copy}")
    assert done.returncode == 0
    assert whyserve("record", "verify", WHYSERVE_RECORD=f"sqlite:///{copy}").returncode == 0
    assert whyserve("record", "verify").returncode == 1


@pytest.mark.slow
def test_an_older_build_explains_what_it_decided(tmp_path):
    """Also after more exports than builds are kept, and a restart."""
    models, artifacts, place = tmp_path / "models", tmp_path / "artifacts", f"sqlite:///{tmp_path}/record.sqlite3"
    folder = torch_folder(models, "small")

    def start() -> Running:
        settings = {"WHYSERVE_RECORD": place, "WHYSERVE_RECORD_SYNC": "true", "CUDA_VISIBLE_DEVICES": ""}
        running = start_service(artifacts, tmp_path / "q", models=models, **settings)
        running.await_line("ready on ")
        return running

    running = start()
    try:
        with running.client() as client:
            first = client.post("/explain", json=example_of(folder)).raise_for_status()
    finally:
        assert running.stop() == 0
    for scale in range(2, 6):
        (folder / "network.py").write_text(
            (folder / "network.py").read_text().replace("return self.layer(x)", f"return self.layer(x) * {scale}")
            .replace(f"* {scale - 1} * {scale}", f"* {scale}")
        )  # fmt: skip
        lines: list[str] = []
        export_all(models, artifacts, 20, lines.append, record=place)
    assert any("older builds are kept for the decision record" in line for line in lines)
    running = start()
    try:
        with running.client() as client:
            made = first.headers["x-prediction-id"]
            now = client.post("/explain", json=example_of(folder)).raise_for_status().json()
            again = client.post("/explain", json={"prediction": made}).raise_for_status().json()
            assert again["explanations"] == first.json()["explanations"]
            assert again["manifest"] == first.json()["manifest"] != now["manifest"]
            shutil.rmtree(artifacts / ".recorded")
            client.post("/v2/repository/models/small/load")
    finally:
        assert running.stop() == 0, running.output
    running = start()
    try:
        with running.client() as client:
            answer = client.post("/explain", json={"prediction": made})
            assert answer.status_code == 410
            assert "the network of this prediction is gone" in answer.json()["detail"]
    finally:
        assert running.stop() == 0, running.output


def example_of(folder):
    return json.loads((folder / "example.json").read_text())
