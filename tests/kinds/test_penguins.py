"""A table of numbers and categories: a category is sent as a string and has one attribution."""

import numpy as np
import pytest
from palmerpenguins import load_penguins

from tests.conftest import example

KEYS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "island", "sex"]


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
