"""KServe's own client, in both of its protocols. It has an environment of its own, which `make test` makes."""

import json
import subprocess

import numpy as np
import pytest

from tests.api.oip.conftest import rows_of
from tests.conftest import ROOT, example


@pytest.fixture(scope="module")
def said(service):
    """What the client got for the example of `wine`."""
    python = ROOT / ".venv-kserve" / "bin" / "python"
    assert python.exists(), "make .venv-kserve/.installed makes the client's environment"
    rows = [json.dumps(example("wine")["instances"]), json.dumps(rows_of("wine")["x"].tolist())]
    done = subprocess.run(
        [python, "-W", "ignore", ROOT / "tests/api/oip/kserve_client.py", service.address, "wine", *rows],
        capture_output=True, text=True, timeout=120, check=False, env={"NO_PROXY": "*"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def predictions(client):
    return client.post("/predict", json=example("wine")).json()["predictions"]


def test_health(said):
    assert said["v2"]["live"] is True
    assert said["v2"]["ready"] is True
    assert said["v2"]["model ready"] is True
    assert said["v1"]["model ready"] is True
    assert said["v2"]["no such model"] is False


@pytest.mark.parametrize("into", [True, False], ids=["binary in", "JSON in"])
@pytest.mark.parametrize("out", [True, False], ids=["binary out", "JSON out"])
def test_infer(into, out, said, predictions):
    answer = said["v2"][f"infer {into} {out}"]
    assert (answer["id"], answer["model"]) == ("7", "wine")
    wanted = [list(prediction["scores"].values()) for prediction in predictions]
    np.testing.assert_allclose(answer["output"], wanted, rtol=1e-6, atol=1e-7)


def test_v1_predicts(said, predictions):
    assert said["v1"]["predict"] == {"predictions": predictions}
    assert said["v1"]["predict bare"] == {"predictions": predictions}


def test_v1_explains(said, client):
    wanted = client.post("/explain", json={**example("wine"), "outputs": "all"}).json()["explanations"]
    assert said["v1"]["explain"]["explanations"] == wanted
    assert said["v1"]["explain bare"]["explanations"] == wanted


def test_errors_reach_the_client(said):
    status, words = said["v1"]["no such model"]
    assert status == 404
    assert "unknown model; available models: " in words
    status, words = said["v1"]["no such field"]
    assert status == 400
    assert 'instances[0]: "alcohol" is missing' in words
    status, words = said["v2"]["wrong type"]
    assert status == 400
    assert 'input "x" has datatype INT64, but must have FP32' in words
