"""Three networks, each packaged in one call of a notebook, served and explained by a running service."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT, start_service
from tests.export.folders import torch_folder
from whyserve.model.manifest import read_manifest


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_networks_packaged_in_a_notebook_are_served_and_explained(tmp_path):
    torch_folder(tmp_path / "models", "older")
    before = start_service(tmp_path / "artifacts", tmp_path / "state", models=tmp_path / "models")
    try:
        with before.client() as client:
            assert [model["name"] for model in client.get("/models").json()["models"]] == ["older"]
            packaged(tmp_path)  # the running service does not load new models before it is asked to
            assert (
                client.post("/predict", json={"model": "flower", "instances": [{}]}).json()["code"] == "unknown_model"
            )
            for name in ("flower", "course", "wave"):
                loaded = client.post(f"/v2/repository/models/{name}/load")
                assert loaded.status_code == 200, loaded.text
            explains(client, tmp_path)
    finally:
        code = before.stop()
    assert code == 0, before.output

    service = start_service(tmp_path / "artifacts", tmp_path / "state", models=tmp_path / "models")
    try:
        with service.client() as client:
            served = {model["name"] for model in client.get("/models").json()["models"]}
            assert served == {"older", "flower", "course", "wave"}
        assert "flower: unchanged" in service.output
    finally:
        code = service.stop()
    assert code == 0, service.output


def packaged(root):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "tests" / "notebook.py"), str(root)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in (
        "model      flower, version 1, from torch",
        "inputs     numbers (2 features, float32), sex_of (1 feature, int64)",
        "inputs     past (6 × 1, float32)",
        "method     exact: ",
        "note       the background is 100 of the 150 given rows",
    ):
        assert words in done.stdout, done.stdout


def explains(client, root):
    keys = {
        "flower": ["sepal_length", "sepal_width", "petal_length", "petal_width"],
        "course": ["bmi", "bp", "sex"],
        "wave": ["past"],
    }
    for name, expected in keys.items():
        manifest, _ = read_manifest(root / "artifacts" / name)
        answer = client.post("/explain", json={**manifest.example, "outputs": "all"})
        assert answer.status_code == 200, answer.text
        (explanation,) = answer.json()["explanations"]
        for output in explanation["outputs"]:
            assert list(output["attributions"]) == expected
            values = [np.sum(part) for part in output["attributions"].values()]
            assert output["value"] - output["base_value"] - sum(values) == pytest.approx(0, abs=1e-3)
    setosa = {"sepal_length": 5.0, "sepal_width": 3.4, "petal_length": 1.5, "petal_width": 0.2}
    answer = client.post("/predict", json={"model": "flower", "instances": [setosa]}).json()
    assert answer["predictions"][0]["label"] == "setosa"
    person = {"bmi": 30.0, "bp": 90.0, "sex": "third"}
    refused = client.post("/explain", json={"model": "course", "instances": [person]})
    assert refused.status_code == 422
    assert "instances[0]: \"sex\" must be 'one' or 'other'" in refused.json()["detail"]
