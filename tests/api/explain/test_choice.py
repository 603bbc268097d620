"""A limit of the standard error, and answers that are not reliable, in all protocols and at the command line."""

import json

import numpy as np
import pytest

import whyserve
from tests.api.oip.conftest import inputs_of, rows_of
from tests.api.oip.test_explain import ask
from tests.conftest import MODELS, example, start_service
from tests.doubtful import copy_doubtful
from whyserve.processes.table import main
from whyserve.settings import TableSettings

GOAL = 0.0008


@pytest.fixture(scope="module")
def doubtful(artifacts, tmp_path_factory):
    """Folders of models and artifacts with wine, whose certificate says that deep is far from the reference."""
    return copy_doubtful(artifacts, tmp_path_factory.mktemp("doubtful"))


def largest_error(answer):
    return max(max(output["standard_errors"].values()) for output in answer["explanations"][0]["outputs"])


def test_sampling_goes_on_until_the_standard_error_in_every_protocol(client):
    asked = {**example("breast_cancer"), "method": "permutation"}
    assert largest_error(client.post("/explain", json={**asked, "samples": 1}).json()) > 2 * GOAL
    answer = client.post("/explain", json={**asked, "standard_error": GOAL}).json()
    assert 0 < largest_error(answer) <= GOAL
    assert "complete" not in answer
    assert "expected_distance" not in answer  # it was measured with another number of samples
    tensors = ask(client, "breast_cancer", inputs_of(rows_of("breast_cancer"), binary=False), standard_error=GOAL)
    assert tensors.as_numpy("standard_errors").max() <= GOAL
    body = {"instances": asked["instances"], "standard_error": GOAL}
    v1 = client.post("/v1/models/breast_cancer:explain", json=body)
    assert v1.status_code == 200
    assert largest_error(v1.json()) <= GOAL


def test_auto_takes_a_method_with_standard_errors(client):
    answer = client.post("/explain", json={**example("breast_cancer"), "standard_error": 0.05}).json()
    assert answer["method"] == "permutation"
    assert answer["method_reason"] == "samples until every standard error is at most 0.05"


def test_the_deadline_ends_the_sampling(client):
    asked = {**example("breast_cancer"), "standard_error": 1e-9, "deadline_s": 1}
    answer = client.post("/explain", json=asked).json()
    assert answer["complete"] is False
    assert largest_error(answer) > 1e-9


@pytest.mark.parametrize(
    ("more", "field"),
    [({"method": "deep", "standard_error": 0.1}, "standard_error"), ({"standard_error": 0}, "standard_error")],
)
def test_a_limit_that_cannot_be_met_is_refused(more, field, client):
    answer = client.post("/explain", json={**example("breast_cancer"), **more})
    assert answer.status_code == 422
    assert field in answer.text


def test_an_answer_says_if_it_is_not_reliable(doubtful):
    service = start_service(doubtful / "artifacts", doubtful / "state", models=doubtful / "models")
    service.await_line(r"ready on ")
    with service.client() as client:
        says_that_it_is_not_reliable(client)
    assert service.stop() == 0, service.output


def says_that_it_is_not_reliable(client):
    reason = "from the reference"
    answer = client.post("/explain", json={**example("wine"), "method": "deep"}).json()
    assert answer["expected_distance"] == 0.45
    assert answer["reliable"] is False
    assert reason in answer["reliable_reason"]
    tensors = ask(client, "wine", inputs_of(rows_of("wine"), binary=False), method="deep").get_response()
    assert tensors["parameters"]["reliable"] is False
    assert tensors["parameters"]["reliable_reason"] == answer["reliable_reason"]
    asked = {**example("wine"), "method": "deep"}
    picture = client.post("/explain", json=asked, headers={"Accept": "image/svg+xml"}).text
    assert f"Do not rely on this explanation: {answer['reliable_reason']}." in picture
    assert "reliable" not in client.post("/explain", json=example("wine")).json()


def test_a_notebook_and_the_command_line_sample_until_the_error(artifacts, doubtful, tmp_path):
    instances = example("breast_cancer")["instances"]
    model = whyserve.load(MODELS / "breast_cancer", artifacts)
    found = model.explain(instances, standard_error=GOAL, progress=False)
    assert np.max(found.standard_errors) <= GOAL
    assert found.reliable
    wine = whyserve.load(doubtful / "models" / "wine", doubtful / "artifacts")
    doubted = wine.explain(example("wine")["instances"], "deep", progress=False)
    assert not doubted.reliable
    assert "do not rely on it: on rows of the model" in repr(doubted)
    rows, out = tmp_path / "rows.csv", tmp_path / "why.jsonl"
    rows.write_text(",".join(instances[0]) + "\n" + ",".join(str(x) for x in instances[0].values()) + "\n")
    settings = TableSettings(models=MODELS, artifacts=artifacts)
    common = {
        "model": "breast_cancer",
        "rows": [str(rows)],
        "output": out,
        "method": "auto",
        "outputs": "top",
        "drop": (),
    }
    assert main(settings, **common, samples=None, seed=0, background="default", standard_error=GOAL) == 0
    line = json.loads(out.read_text())
    assert max(value for key, value in line.items() if key.startswith("standard_error.")) <= GOAL
