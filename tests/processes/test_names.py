"""Names of models as KServe's services have them: three that differ only in a dash, an underscore and a dot."""

import re

import pytest

from tests.conftest import start_service
from tests.export.folders import torch_folder
from whyserve.api.schemas.types import type_name
from whyserve.errors import ModelFault
from whyserve.model.builds import builds_of
from whyserve.model.spec import check_name

NAMES = ("a-b", "a_b", "a.b")
ROW = {"a": 1.0, "b": 2.0}


def test_three_similar_names_are_served_at_once(tmp_path):
    for number, name in enumerate(NAMES):
        torch_folder(tmp_path / "models", name, f"return self.layer(x) + {number}")
    running = start_service(tmp_path / "artifacts", tmp_path / "state", models=tmp_path / "models")
    try:
        running.await_line(r"ready on ")
        with running.client() as client:
            answers = {name: each(client, name) for name in NAMES}
            document = client.get("/openapi.json").json()
            metrics = client.get("/metrics").text
            assert client.post("/v2/repository/models/a..b/load").status_code == 404
    finally:
        assert running.stop() == 0, running.output
    first = answers["a-b"]
    for number, name in enumerate(NAMES):
        assert answers[name] == pytest.approx([score + number for score in first], abs=1e-5)
        assert len(builds_of(tmp_path / "artifacts", name)) == 1
        assert f'model="{name}"' in metrics
    components = document["components"]["schemas"]
    constants = components["ModelName"]["x-enum-varnames"]
    assert len(set(constants)) == len(NAMES), "client generators make constants of the names"
    mapping = components["PredictRequest"]["discriminator"]["mapping"]
    assert len({mapping[name] for name in NAMES}) == len(NAMES)
    for name in NAMES:
        request = components[mapping[name].rpartition("/")[2]]
        assert request["properties"]["model"]["const"] == name
    assert all(re.fullmatch("[A-Za-z][A-Za-z0-9_]*", component) for component in components)


def each(client, name):
    """The scores of one model, by every protocol and as an explanation's value."""
    predicted = client.post("/predict", json={"model": name, "instances": [ROW]}).raise_for_status().json()
    assert predicted["model"] == name
    first = client.post(f"/v1/models/{name}:predict", json={"instances": [ROW]}).raise_for_status().json()
    assert first["predictions"] == predicted["predictions"]
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}
    inferred = client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]}).raise_for_status().json()
    assert inferred["model_name"] == name
    assert client.get(f"/models/{name}").raise_for_status().json()["spec"]["name"] == name
    assert client.post(f"/v2/repository/models/{name}/load").status_code == 200
    explained = client.post("/explain", json={"model": name, "instances": [ROW], "outputs": "all"}).json()
    assert [each["output"] for each in explained["explanations"][0]["outputs"]] == ["no", "yes"]
    return [each["value"] for each in explained["explanations"][0]["outputs"]]


@pytest.mark.parametrize("name", ["a-b", "a_b", "a.b", "a--b", "bert-base-v1.2", "x", "a" * 64])
def test_valid_names(name):
    check_name(name)


@pytest.mark.parametrize(
    "name", ["a-", "a.", "a..b", ".a", "-a", "1a", "A", "a/b", "a b", "a\n", "", "a" * 65, "stats"]
)
def test_invalid_names(name):
    with pytest.raises(ModelFault, match="is not a valid model name; start with a lower-case letter"):
        check_name(name)


def test_no_two_names_have_one_type():
    names = ["ab", "a_b", "a-b", "a.b", "a__b", "a--b", "ab_", "a_b_", "x1", "x_1", "kserve", "a_mean"]
    assert len({type_name(name) for name in names}) == len(names)
    assert type_name("breast_cancer") == "BreastCancer"
