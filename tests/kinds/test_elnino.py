"""A Keras model with two inputs of different kinds: a series and a category."""

import numpy as np
import pytest
from statsmodels.datasets import elnino

from tests.conftest import example

MONTHS = ("January", "April", "July", "October")


def test_the_service_forecasts_real_years(client):
    degrees = elnino.load_pandas().data.iloc[:, 1:].to_numpy(np.float32).ravel()
    # From July to December of one year, the model predicts March of the next year.
    starts = range(6, len(degrees) - 12, 12)
    instances = [{"past": degrees[i : i + 6, None].tolist(), "month": "March"} for i in starts]
    answer = client.post("/predict", json={"model": "elnino", "instances": instances})
    assert answer.status_code == 200, answer.text
    forecast = np.array([prediction["value"] for prediction in answer.json()["predictions"]])
    truth = degrees[[i + 8 for i in starts]]
    assert np.abs(forecast - truth).mean() < np.abs(truth - truth.mean()).mean()


def test_each_input_has_attributions_of_its_shape(client):
    request = {**example("elnino"), "method": "exact"}
    (instance,) = request["instances"]
    rows = [{**instance, "month": month} for month in MONTHS]
    answer = client.post("/explain", json={**request, "instances": rows})
    assert answer.status_code == 200, answer.text
    outputs = [explanation["outputs"][0] for explanation in answer.json()["explanations"]]
    for output in outputs:
        assert list(output["attributions"]) == ["past", "month"]
        steps = np.array(output["attributions"]["past"])
        assert steps.shape == (6, 1)
        total = output["base_value"] + steps.sum() + output["attributions"]["month"]
        assert output["value"] == pytest.approx(total, abs=1e-4)
    by_month = dict(zip(MONTHS, (output["attributions"]["month"] for output in outputs), strict=True))
    # South of the equator, the sea is warm in April and cold in October.
    assert by_month["April"] > 0 > by_month["October"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"month": "Brumaire"}, "instances[0]: \"month\" must be 'January', "),
        ({"past": [[20.0]] * 5}, 'instances[0]: "past" must hold at least 6'),
        ({"calendar": 3}, 'instances[0]: "calendar" is an unknown field'),
    ],
)
def test_a_fault_names_the_input(change, words, client):
    request = example("elnino")
    answer = client.post("/predict", json={**request, "instances": [{**request["instances"][0], **change}]})
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert "Brumaire" not in answer.text
