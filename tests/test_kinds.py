"""Inputs of several kinds and two labels on one output, served and explained for both frameworks."""

import copy

import numpy as np
import pytest

from tests.export.mixed import INSTANCE, mixed_folder
from tests.kinds.service import client_of

REQUEST = {"model": "mixed", "instances": [INSTANCE]}


@pytest.fixture(scope="module", params=["torch", "keras"])
def client(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(f"mixed-{request.param}")
    mixed_folder(root / "models", request.param)
    with client_of(root) as client:
        yield client


def test_attributions_have_the_shapes_of_the_inputs(client):
    answer = client.post("/explain", json={**REQUEST, "outputs": "all"})
    assert answer.status_code == 200, answer.text
    (explanation,) = answer.json()["explanations"]
    scores = explanation["prediction"]["scores"]
    assert scores["no"] == pytest.approx(1 - scores["yes"])
    assert explanation["prediction"]["label"] == max(scores, key=scores.get)
    no, yes = explanation["outputs"]
    assert (no["output"], yes["output"]) == ("no", "yes")
    assert set(yes["attributions"]) == {"mass", "length", "island", "image"}
    assert np.shape(yes["attributions"]["image"]) == (2, 2, 1)
    # Attributions of the two labels differ in sign only.
    for key in yes["attributions"]:
        np.testing.assert_allclose(np.negative(no["attributions"][key]), yes["attributions"][key], atol=1e-12)
    assert no["base_value"] == pytest.approx(1 - yes["base_value"])
    for output in (no, yes):
        total = sum(np.sum(value) for value in output["attributions"].values())
        assert output["value"] - output["base_value"] - total == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"island": "Elba"}, "instances[0]: \"island\" must be 'Biscoe', 'Dream' or 'Torgersen'"),
        ({"island": 1}, 'instances[0]: "island" must be'),
        ({"image": [[[0.1], [0.9]]]}, 'instances[0]: "image" must hold at least 2'),
        ({"image": [[[0.1], [0.9]], [[0.4]]]}, 'instances[0]: "image[1]" must hold at least 2'),
        ({"image": [[[0.1], [0.9]], [[0.4], ["x"]]]}, 'instances[0]: "image[1][1][0]" must be a number'),
        ({"image": 3}, 'instances[0]: "image" must be a list'),
        ({"mass": None}, 'instances[0]: "mass" must be a number'),
    ],
)
def test_a_fault_names_its_place(change, words, client):
    answer = client.post("/predict", json={**REQUEST, "instances": [{**copy.deepcopy(INSTANCE), **change}]})
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert "Elba" not in answer.text


def test_a_category_has_one_value_that_depends_on_it(client):
    islands = ["Biscoe", "Dream", "Torgersen"]
    rows = [{**INSTANCE, "island": island} for island in islands]
    answer = client.post("/explain", json={"model": "mixed", "instances": rows, "outputs": ["yes"]}).json()
    values = [explanation["outputs"][0]["attributions"]["island"] for explanation in answer["explanations"]]
    assert len(set(values)) == 3
