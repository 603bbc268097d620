"""A series: twenty years in, one attribution per year out."""

import numpy as np
import pytest
from statsmodels.datasets import sunspots

from tests.conftest import example


@pytest.fixture(scope="module")
def numbers():
    return sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()


def test_the_service_forecasts_held_out_years(client, numbers):
    windows = np.lib.stride_tricks.sliding_window_view(numbers, 20)[-80:-1]
    request = {"model": "sunspots", "instances": [{"past": window.tolist()} for window in windows]}
    answer = client.post("/predict", json=request)
    assert answer.status_code == 200, answer.text
    forecast = np.array([prediction["value"] for prediction in answer.json()["predictions"]])
    wrong = np.square(forecast - numbers[-79:]).mean()
    assert 1 - wrong / numbers[-79:].var() > 0.85
    # Better than two simple forecasts: the number of the last year, and the number of eleven years before.
    assert wrong < np.square(windows[:, -1] - numbers[-79:]).mean()
    assert wrong < np.square(windows[:, -11] - numbers[-79:]).mean()


def test_attributions_are_by_year_and_the_last_years_matter_most(client):
    answer = client.post("/explain", json={**example("sunspots"), "players": {}})
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["explanations"][0]["outputs"]
    values = np.array(output["attributions"]["past"])
    assert values.shape == (20,)
    assert output["value"] - output["base_value"] - values.sum() == pytest.approx(output["residual"], abs=1e-6)
    assert abs(output["residual"]) < 1e-3 * abs(output["value"] - output["base_value"])
    assert np.abs(values[-4:]).mean() > 3 * np.abs(values[:-4]).mean()


@pytest.mark.parametrize("years", [19, 21])
def test_another_number_of_years_is_refused(years, client):
    answer = client.post("/predict", json={"model": "sunspots", "instances": [{"past": [10.0] * years}]})
    assert answer.status_code == 422
    assert 'instances[0]: "past" must hold at' in answer.json()["detail"]
