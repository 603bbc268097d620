"""Values outside the range that a model was compared with."""

import numpy as np
from palmerpenguins import load_penguins
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.model_selection import train_test_split

from tests.conftest import MODELS
from whyserve.export.sources import read_source
from whyserve.model.bounds import Bounds


def bounds_of(name):
    source = read_source(MODELS / name)
    return Bounds(source.spec, source.ranges())


def penguins():
    data = load_penguins().dropna()
    measured = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    return data[measured].to_numpy(np.float32), data["species"].to_numpy()


def diabetes():
    data = load_diabetes(as_frame=True, scaled=False)
    return data.data[["bmi", "bp"]].to_numpy(np.float32), None


# The rows that the training of each shipped model left out, by the same split as in its train.py.
HELD_OUT = {
    "breast_cancer": lambda: load_breast_cancer(return_X_y=True),
    "wine": lambda: load_wine(return_X_y=True),
    "penguins": penguins,
    "fclayer": diabetes,
    "linear": diabetes,
}


def flagged(name):
    """Whether each held-out row is out of range."""
    x, y = HELD_OUT[name]()
    _, x_test = train_test_split(x, test_size=0.25, random_state=0, stratify=y)
    first = read_source(MODELS / name).spec.inputs[0].name
    arrays = {first: x_test.astype(np.float32)}
    if name == "penguins":
        arrays["known"] = np.zeros((len(x_test), 2), np.int64)
    return [bool(one) for one in bounds_of(name).outside(arrays)]


def test_at_most_2_percent_of_held_out_rows_are_out_of_range():
    found = {name: flagged(name) for name in HELD_OUT}
    assert np.mean(np.concatenate(list(found.values()))) <= 0.02
    # One wine of 45 and three people of 143 are farther from the training data than a quarter of its range.
    assert max(np.mean(rows) for rows in found.values()) <= 0.025


def test_a_value_is_reported_with_both_bounds():
    bounds = bounds_of("fclayer")
    (low, high) = read_source(MODELS / "fclayer").ranges()["bmi"]
    wide = (high - low) / 4
    rows = np.array([[low - wide, 100], [np.nextafter(np.float32(high + wide), np.float32(np.inf)), 100], [-5, 1e9]])
    first, second, third = bounds.outside({"x": rows.astype(np.float32)})
    assert first == []
    (one,) = second
    assert one["feature"] == "bmi"
    assert (one["low"], one["high"]) == (low - wide, high + wide)
    assert [each["feature"] for each in third] == ["bmi", "bp"]
    assert [each["value"] for each in third] == [-5.0, 1e9]


def test_the_range_of_model_toml_replaces_that_of_the_background():
    spec = read_source(MODELS / "fclayer").spec
    (item,) = spec.inputs
    bmi = item.features[0].model_copy(update={"range": (0.0, 1.0)})
    changed = spec.model_copy(update={"inputs": (item.model_copy(update={"features": (bmi, item.features[1])}),)})
    bounds = Bounds(changed, {"bmi": (10, 20), "bp": (80, 120)})
    assert bounds.outside({"x": np.array([[0.5, 100.0], [15.0, 100.0]], np.float32)}) == [
        [],
        [{"feature": "bmi", "value": 15.0, "low": 0.0, "high": 1.0}],
    ]
