"""A running service from end to end: every shipped model predicts and explains."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import MODELS, Running, example, numbers_of, shipped, start_service
from whyserve.explain.models.explainable import load_model, to_tensors
from whyserve.model.manifest import read_manifest
from whyserve.model.rows import RowReader


def children(pid: int) -> dict[str, int]:
    """The child processes of `pid`: role → process id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes().decode().split("\0")
        except (OSError, ValueError):
            continue
        if parent == pid and "whyserve.cli" in command:
            found[command[command.index("whyserve.cli") + 1]] = int(path.parent.name)
    return found


def original(name, artifacts, instances):
    """What the original network returns for instances."""
    model = load_model(MODELS, artifacts / name, 1 << 28)
    with torch.no_grad():
        table = model.network(to_tensors(RowReader(model.spec, model.texts)(instances))).numpy()
        base = model.network(model.background).double().mean(0).numpy()
    return model, table, base


@pytest.mark.parametrize("name", shipped())
def test_a_model_predicts_and_explains(name, client, artifacts):
    request = example(name)
    predicted = client.post("/predict", json=request)
    assert predicted.status_code == 200, predicted.text
    explained = client.post("/explain", json={**request, "outputs": "all"})
    assert explained.status_code == 200, explained.text
    answer = explained.json()
    model, table, base = original(name, artifacts, request["instances"])
    scale = float(np.abs(table).max())

    assert predicted.json()["model"] == name
    assert answer["method"] == model.manifest.certificate["default"]
    assert answer["manifest"] == model.digest
    rows = model.manifest.background_rows
    assert answer["background"] == {"name": "default", "rows": rows, "sha256": model.manifest.background()[1]}
    for row, explanation in enumerate(answer["explanations"]):
        assert explanation["prediction"] == predicted.json()["predictions"][row]
        assert [output["output"] for output in explanation["outputs"]] == list(model.spec.output_names)
        for column, output in enumerate(explanation["outputs"]):
            assert output["value"] == pytest.approx(table[row, column], abs=1e-5 * scale)
            assert output["base_value"] == pytest.approx(base[column], abs=1e-5 * scale)
            assert set(output["attributions"]) == set(model.spec.keys)
            total = sum(np.sum(numbers_of(part)) for part in output["attributions"].values())
            rest = output["value"] - output["base_value"] - total
            assert abs(rest) <= 1e-3 * scale
            assert output["residual"] == pytest.approx(rest, abs=1e-9 * scale)


def test_top_explains_the_predicted_label_and_other_labels_can_be_chosen(client):
    request = example("wine")
    label = client.post("/predict", json=request).json()["predictions"][0]["label"]
    top = client.post("/explain", json=request).json()["explanations"][0]["outputs"]
    assert [output["output"] for output in top] == [label]
    chosen = client.post("/explain", json={**request, "outputs": ["grignolino"]}).json()["explanations"][0]["outputs"]
    assert [output["output"] for output in chosen] == ["grignolino"]


def test_an_explanation_does_not_depend_on_the_other_instances_of_its_request(client):
    request = {**example("breast_cancer"), "method": "permutation", "seed": 7}
    other = {key: value * 1.1 for key, value in request["instances"][0].items()}
    alone = client.post("/explain", json=request).json()
    beside = client.post("/explain", json={**request, "instances": [other, *request["instances"]]}).json()
    one, two = alone["explanations"][0]["outputs"][0], beside["explanations"][1]["outputs"][0]
    assert one["value"] == pytest.approx(two["value"], abs=1e-6)
    assert one["attributions"] == pytest.approx(two["attributions"], abs=1e-6)
    assert alone["method"] == "permutation"
    assert set(one["standard_errors"]) == set(one["attributions"])


def test_a_linear_model_is_explained_by_its_coefficients(client):
    """On a linear model the Shapley value is weight × (value − the background's mean)."""
    rows = [{"bmi": 30.0, "bp": 90.0}, {"bmi": 31.0, "bp": 90.0}, {"bmi": 30.0, "bp": 95.0}]
    answer = client.post("/explain", json={"model": "linear", "instances": rows}).json()
    first, heavier, tighter = (explanation["outputs"][0] for explanation in answer["explanations"])
    slope = heavier["value"] - first["value"]
    assert heavier["attributions"]["bmi"] - first["attributions"]["bmi"] == pytest.approx(slope, abs=1e-4)
    assert heavier["attributions"]["bp"] == pytest.approx(first["attributions"]["bp"], abs=1e-4)
    assert tighter["attributions"]["bmi"] == pytest.approx(first["attributions"]["bmi"], abs=1e-4)


def test_models_are_listed_with_their_certificates(client, artifacts):
    assert {model["name"] for model in client.get("/models").json()["models"]} == set(shipped())
    for name in shipped():
        shown = client.get(f"/models/{name}").json()
        manifest, digest = read_manifest(artifacts / name)
        assert shown["manifest"] == digest
        assert shown["certificate"]["default"] == manifest.certificate["default"]
        assert shown["parity"]["largest"] <= 1e-5


def test_health_and_the_openapi_document(client):
    assert client.get("/health/live").json() == {"status": "live"}
    ready = client.get("/health/ready").json()
    assert ready["workers"] == 1
    assert set(ready["models"]) == set(shipped())
    document = client.get("/openapi.json").json()
    assert {"/predict", "/explain", "/explanations/{id}", "/models"} <= set(document["paths"])
    assert document["components"]["schemas"]["WineRow"]["properties"]["alcohol"]["x-unit"] == "% vol"
    assert client.get("/docs").status_code == 200


def test_each_process_loads_its_own_libraries_only(service, client):
    for name in shipped():
        client.post("/explain", json=example(name)).raise_for_status()
    roles = children(service.process.pid)
    assert set(roles) == {"api", "worker"}
    loaded = {role: Path(f"/proc/{pid}/maps").read_text() for role, pid in roles.items()}
    for library in ("/torch/", "/tensorflow/", "/keras/", "/shap/", "libtorch"):
        assert library not in loaded["api"]
    for library in ("/tensorflow/", "/onnxruntime/", "libtensorflow"):
        assert library not in loaded["worker"]


def test_a_dead_worker_is_replaced_and_ctrl_c_stops_all_processes(light, tmp_path):
    models, artifacts = light
    service = start_service(artifacts, tmp_path / "q", models=models)
    try:
        with service.client() as client:
            first = children(service.process.pid)
            os.kill(first["worker"], signal.SIGKILL)
            # Sent while no worker runs: the request waits for the next one.
            answer = client.post("/explain", json=example("fclayer"))
            assert answer.status_code == 200
        service.await_line(r"the worker died \(by SIGKILL\); starting another")
        assert children(service.process.pid)["worker"] != first["worker"]
    finally:
        code = service.stop(signal.SIGINT)
    assert code == 0, service.output
    assert not re.search(r"Traceback|Error", service.output)


def test_no_process_outlives_a_killed_supervisor(light, tmp_path):
    models, artifacts = light
    service = start_service(artifacts, tmp_path / "q", models=models)
    assert service.address
    pids = list(children(service.process.pid).values())
    service.stop(signal.SIGKILL)
    deadline = time.monotonic() + 15
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--port", "99999"], "WHYSERVE_PORT: Input should be less than or equal to 65535"),
        (["--models", "none"], "none: no such folder"),
        (["--queue-depth", "many"], "WHYSERVE_QUEUE_DEPTH"),
    ],
)
def test_an_invalid_setting_ends_the_start_with_one_line(flags, words, artifacts, tmp_path):
    service = start_service(artifacts, tmp_path, *flags)
    assert service.process.wait(60) != 0
    service.stop()
    assert any(words in line for line in service.lines), service.output
    assert "Traceback" not in service.output


def test_a_second_service_on_the_same_state_or_port_is_refused(service, artifacts, tmp_path):
    port = service.address.rpartition(":")[2]
    taken = start_service(artifacts, tmp_path, "--port", port)
    assert taken.process.wait(60) == 1
    taken.stop()
    assert f"cannot listen on 127.0.0.1:{port}" in taken.output


def test_a_model_with_a_changed_file_is_not_served(light, tmp_path):
    """A network that differs from the exported one ends the worker, and so the start of the service."""
    for folder in light:
        shutil.copytree(folder, tmp_path / folder.name, symlinks=True)
    original = tmp_path / "artifacts" / "fclayer" / "original"
    shutil.copytree(MODELS / "fclayer", original, dirs_exist_ok=True)
    weights = original / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    folders = [f"--{name}={tmp_path / name}" for name in ("models", "artifacts", "state")]
    worker = Running(["worker", *folders])
    assert worker.process.wait(60) == 1
    worker.stop()
    assert "fclayer/weights.safetensors: not the file that was exported" in worker.output
    assert "Traceback" not in worker.output
