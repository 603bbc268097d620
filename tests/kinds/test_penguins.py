"""A table of numbers and categories: a category is sent as a string and has one attribution."""

import json

import numpy as np
import pytest
from palmerpenguins import load_penguins

from tests.conftest import example

KEYS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "island", "sex"]
CODES = {"Biscoe": 0, "Dream": 1, "Torgersen": 2, "female": 0, "male": 1}


@pytest.fixture(scope="module")
def penguins():
    return load_penguins().dropna()


def test_the_service_recognises_real_penguins(client, penguins):
    rows = penguins[KEYS].to_dict("records")
    answer = client.post("/predict", json={"model": "penguins", "instances": rows})
    assert answer.status_code == 200, answer.text
    labels = [prediction["label"] for prediction in answer.json()["predictions"]]
    assert np.mean(np.array(labels) == penguins["species"].to_numpy()) > 0.97


def test_a_category_has_one_attribution_that_depends_on_its_value(client):
    request = {**example("penguins"), "method": "exact", "outputs": ["Gentoo"]}
    (instance,) = request["instances"]
    islands = ["Biscoe", "Dream", "Torgersen"]
    answer = client.post("/explain", json={**request, "instances": [{**instance, "island": i} for i in islands]})
    outputs = [explanation["outputs"][0] for explanation in answer.json()["explanations"]]
    for output in outputs:
        assert set(output["attributions"]) == set(KEYS)
        assert abs(output["residual"]) < 1e-5
    biscoe, dream, torgersen = (output["attributions"]["island"] for output in outputs)
    # In these data, Gentoo penguins live on Biscoe only.
    assert biscoe > max(dream, torgersen)


def test_an_unknown_category_is_refused_without_its_value_in_the_message(client):
    request = example("penguins")
    request["instances"][0]["island"] = "Elba"
    answer = client.post("/explain", json=request)
    assert answer.status_code == 422
    assert "instances[0]: \"island\" must be 'Biscoe', 'Dream' or 'Torgersen'" in answer.json()["detail"]
    assert "Elba" not in answer.text


def test_reasons_come_with_every_protocol_and_in_each_language(client):
    rows = example("penguins")["instances"]
    asked = {"model": "penguins", "instances": rows, "reasons": True}
    answer = client.post("/explain", json=asked).json()
    assert answer["background"]["name"] == "adelie"
    (each,) = answer["explanations"]
    assert [output["output"] for output in each["outputs"]] == ["Gentoo"]
    assert each["reasons"]["not_named"] > 0
    german = client.post("/explain", json={**asked, "language": "de", "outputs": "top"}).json()["explanations"][0]
    assert "Gentoo" in [output["output"] for output in german["outputs"]]
    assert [reason["code"] for reason in german["reasons"]["named"]] == [
        reason["code"] for reason in each["reasons"]["named"]
    ]
    assert german["reasons"]["sentence"].startswith("Er ist ")
    v1 = client.post("/v1/models/penguins:explain", json={"instances": rows, "reasons": True}).json()
    assert v1["explanations"][0]["reasons"] == each["reasons"]
    inputs = [
        {"name": "measured", "datatype": "FP32", "shape": [1, 4], "data": [rows[0][key] for key in KEYS[:4]]},
        {"name": "known", "datatype": "INT64", "shape": [1, 2], "data": [CODES[rows[0][key]] for key in KEYS[4:]]},
    ]
    v2 = client.post("/v2/models/penguins/explain", json={"inputs": inputs, "parameters": {"reasons": True}}).json()
    (tensor,) = (tensor for tensor in v2["outputs"] if tensor["name"] == "reasons")
    assert json.loads(tensor["data"][0]) == each["reasons"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"language": "de"}, "language"),
        ({"reasons": True, "language": "fr"}, "language"),
        ({"reasons": True, "summary": True}, "reasons"),
        ({"reasons": True, "instead_of": "Adelie"}, "reasons"),
        ({"reasons": True, "players": {}}, "reasons"),
        ({"reasons": "yes"}, "reasons"),
        ({"reasons": True, "model": "linear", "instances": [{"bmi": 30.0, "bp": 90.0}]}, "reasons"),
    ],
)
def test_a_wrong_request_for_reasons_names_the_field(change, field, client):
    refused = client.post("/explain", json={**example("penguins"), **change})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == field
