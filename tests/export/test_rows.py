"""Rows to compare networks on."""

import numpy as np
import pytest

from whyserve.export.rows import trial_rows
from whyserve.model.spec import ModelSpec


def spec(**item):
    return ModelSpec.model_validate(
        {
            "name": "m", "framework": "torch", "task": "regression",
            "inputs": [{"name": "x", **item}], "output": {"names": ["y"], "scores": "values"},
        }
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_integers_and_booleans_stay_within_the_background(dtype):
    background = np.array([[0, 1], [1, 1]], dtype)
    rows = trial_rows(spec(kind="tensor", dtype=dtype, shape=[2]), {"x": background})
    found = rows.arrays["x"]
    assert found.dtype == dtype
    assert (found.min(0).tolist(), found.max(0).tolist()) == ([0, 1], [1, 1])
    assert len(np.unique(found[:, 0])) == 2


def test_booleans_and_ids_among_numbers_stay_what_they_are():
    features = [{"name": "age"}, {"name": "member", "boolean": True}, {"name": "city", "whole": True}]
    background = np.array([[20.5, 0, 2], [50, 1, 7]], np.float32)
    rows = trial_rows(spec(features=features), {"x": background})
    age, member, city = rows.arrays["x"].T
    assert age.max() > 300  # far beyond the background
    assert set(member) == {0, 1}
    assert set(city) == {2, 3, 4, 5, 6, 7}


def test_rows_that_are_left_keep_their_sets():
    rows = trial_rows(spec(kind="tensor", shape=[1]), {"x": np.array([[1.0], [2.0]], np.float32)})
    assert rows.real == 2
    taken = np.ones(len(rows.arrays["x"]), bool)
    taken[[3, -3, -4]] = False
    left = rows.only(taken)
    assert [(name, end - first) for name, first, end in left.sets] == [
        ("background", 2),
        ("random", 127),
        ("extreme", 3),
    ]
    assert left.describe(len(left.arrays["x"]) - 1) == "extreme row 2"
    only_real = rows.only(np.arange(len(taken)) < rows.real)
    assert [name for name, _, _ in only_real.sets] == ["background"]
