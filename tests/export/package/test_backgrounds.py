"""A small background that represents a large one: its rows, its error, and its use in `package`."""

import keras
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from whyserve.errors import InvalidInput
from whyserve.export.package.backgrounds import medoids
from whyserve.export.package.package import package
from whyserve.model.arrays import read_npz

RNG = np.random.default_rng(0)
CENTRES = np.array([[0, 0, 0], [5, 0, 0], [0, 50, 0], [5, 50, 9]], dtype=np.float32)
ROWS = (np.repeat(CENTRES, 60, axis=0) + RNG.normal(0, 0.1, (240, 3))).astype(np.float32)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


def test_each_cluster_of_rows_has_one_row():
    few = medoids(network(), {"input": ROWS}, rows=4)
    assert sorted(few.chosen // 60) == [0, 1, 2, 3]
    np.testing.assert_array_equal(few.background["input"], ROWS[few.chosen])
    assert few.distance is not None
    assert few.by_chance is not None
    assert few.distance < 0.1 < few.by_chance
    assert repr(few).startswith("4 of 240 rows; attributions differ by 0.0")
    np.testing.assert_array_equal(medoids(network(), ROWS, rows=4).chosen, few.chosen)


def test_a_data_frame_keeps_its_form_and_all_categories():
    frame = pd.DataFrame({"size": ROWS[:, 0], "colour": ["red"] * 239 + ["blue"]})

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.colour, self.last = nn.Embedding(2, 2), nn.Linear(3, 1)

        def forward(self, numbers, categories):
            return self.last(torch.cat([numbers, self.colour(categories[:, 0])], 1))

    few = medoids(Mixed(), frame, rows=3, categories={"colour": ["blue", "red"]})
    assert list(few.background.columns) == ["size", "colour"]
    assert list(few.background["colour"].cat.categories) == ["blue", "red"]


@pytest.mark.slow
def test_package_takes_the_chosen_rows(tmp_path):
    given = keras.Input((20,), name="x")
    model = keras.Model(given, keras.layers.Dense(1)(keras.layers.Dense(4, activation="tanh")(given)))
    rows = RNG.normal(size=(150, 20)).astype(np.float32)
    few = medoids(model, rows, rows=10, tried=2)
    assert few.noise, "twenty features are sampled"
    assert "sampling error" in repr(few)
    made = package(model, tmp_path / "small", background=few.background, artifacts=tmp_path / "artifacts")
    assert made.manifest.background_rows == 10
    np.testing.assert_array_equal(
        read_npz((tmp_path / "small" / "background.npz").read_bytes())["x"], np.asarray(few.background)
    )


def test_duplicate_rows_fill_up_the_background():
    rows = np.repeat(CENTRES, 5, axis=0)
    assert len(medoids(network(), rows, rows=6).background) == 6


@pytest.mark.parametrize("rows", [0, 240, 1000])
def test_the_number_of_rows_must_be_less_than_the_background_has(rows):
    with pytest.raises(InvalidInput, match=f"rows is {rows}, but the background has 240 rows; choose from 1 to 239"):
        medoids(network(), ROWS, rows=rows)
