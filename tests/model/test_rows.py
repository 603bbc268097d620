"""Rows to arrays and back."""

import io
from typing import Any

import numpy as np
import pytest

from whyserve.errors import InvalidInput
from whyserve.model.arrays import check_arrays, first_not_finite, read_npz
from whyserve.model.players import Partition
from whyserve.model.rows import RowReader, as_row
from whyserve.model.spec import ModelSpec

SPEC = ModelSpec.model_validate(
    {
        "name": "m",
        "framework": "torch",
        "task": "regression",
        "inputs": [
            {"name": "x", "features": [{"name": "a"}, {"name": "b"}]},
            {"name": "c", "dtype": "int64", "features": [{"name": "island", "categories": ["Biscoe", "Dream"]}]},
            {"name": "image", "kind": "image", "shape": [2, 1]},
        ],
        "output": {"names": ["y"], "scores": "values"},
    }
)
ROW: dict[str, Any] = {"image": [[1.5], [2.5]], "island": "Dream", "b": 2, "a": 1.25}


def arrays(rows=2):
    return {
        "x": np.zeros((rows, 2), np.float32),
        "c": np.zeros((rows, 1), np.int64),
        "image": np.zeros((rows, 2, 1), np.float32),
    }


def test_rows_become_arrays_whatever_the_order_of_keys():
    read = RowReader(SPEC)([ROW, {**ROW, "a": -1, "island": "Biscoe"}])
    np.testing.assert_array_equal(read["x"], [[1.25, 2], [-1, 2]])
    np.testing.assert_array_equal(read["c"], [[1], [0]])
    assert read["image"].shape == (2, 2, 1)
    assert {name: array.dtype.name for name, array in read.items()} == {
        "x": "float32",
        "c": "int64",
        "image": "float32",
    }


BOOLEANS = ModelSpec.model_validate(
    {
        "name": "m",
        "framework": "torch",
        "task": "regression",
        "inputs": [
            {
                "name": "x",
                "features": [{"name": "age"}, {"name": "member", "boolean": True}, {"name": "city", "whole": True}],
            },
            {"name": "mask", "kind": "tensor", "dtype": "bool", "shape": [2]},
        ],
        "output": {"names": ["y"], "scores": "values"},
    }
)


def test_booleans_come_back_as_they_were_sent():
    row = {"age": 3.5, "member": True, "city": 4, "mask": [True, False]}
    read = RowReader(BOOLEANS)([row])
    assert (read["x"].dtype.name, read["x"].tolist()) == ("float32", [[3.5, 1.0, 4.0]])
    assert (read["mask"].dtype.name, read["mask"].tolist()) == ("bool", [[True, False]])
    back = as_row(BOOLEANS, read, 0)
    assert back == row
    assert [type(back[key]) for key in ("member", "city")] == [bool, int]
    assert type(back["mask"][0]) is bool


@pytest.mark.parametrize(
    ("x", "mask", "words"),
    [
        ([[1, 0.5, 2]], [[True, False]], 'holds a number other than 0 and 1 for "member", which is true or false'),
        ([[1, 1, 1.7]], [[True, False]], 'holds a fraction for "city", which must be a whole number'),
        ([[1, 1, 2]], [[0, 2]], "holds a number outside the range of bool"),
        ([[1, 1, 2]], [[0.0, 1.0]], "has dtype float64; bool is needed"),
    ],
)
def test_an_array_that_holds_no_booleans_is_refused(x, mask, words):
    with pytest.raises(InvalidInput) as caught:
        check_arrays(BOOLEANS, {"x": np.array(x, np.float32), "mask": np.array(mask)})
    assert words in caught.value.message


def test_integers_of_0_and_1_are_taken_for_booleans_in_arrays():
    checked = check_arrays(BOOLEANS, {"x": np.zeros((1, 3)), "mask": np.array([[0, 1]])})
    assert checked["mask"].dtype == np.bool_


def test_attributions_have_the_keys_and_shapes_of_a_row():
    shown = {"a": 0.0, "b": 1.0, "island": 2.0, "image": [[3.0], [4.0]]}
    assert Partition(SPEC).fixed.described(np.arange(5.0)) == {"attributions": shown}


def test_a_group_is_one_player_wherever_its_features_stand():
    data = SPEC.model_dump()
    data["inputs"][0]["features"][1]["group"] = data["inputs"][1]["features"][0]["group"] = "place"
    spec = ModelSpec.model_validate(data)
    players = Partition(spec).fixed
    numbers = {name: part.tolist() for name, part in players.numbers.items()}
    assert numbers == {"x": [0, 1], "c": [1], "image": [[2], [3]]}
    shown = {"a": 0.0, "place": 1.0, "image": [[2.0], [3.0]]}
    assert players.described(np.arange(4.0)) == {"attributions": shown}


def test_one_feature_is_a_column_too():
    spec = SPEC.model_copy(
        update={"inputs": (SPEC.inputs[0].model_copy(update={"features": SPEC.inputs[0].features[:1]}),)}
    )
    assert RowReader(spec)([{"a": 1}, {"a": 2}])["x"].shape == (2, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": None}, 'input "x" is missing'),
        ({"q": np.zeros(2)}, 'input "q" is not an input of this model; its inputs: x, c, image'),
        ({"x": np.zeros((2, 3), np.float32)}, r"has shape \(2, 3\); \(rows, 2\) is needed"),
        ({"x": np.zeros((), np.float32)}, "has shape"),
        ({"x": np.array([["a", "b"]] * 2)}, "has dtype"),
        ({"x": np.full((2, 2), np.nan, np.float32)}, "not finite"),
        ({"x": np.full((2, 2), 1e300)}, "not finite"),
        ({"c": np.full((2, 1), 2)}, 'outside the categories of "island"'),
        ({"c": np.full((2, 1), -1)}, 'outside the categories of "island"'),
        ({"c": np.zeros((2, 1), np.float32)}, "int64 is needed"),
        ({"x": np.zeros((3, 2), np.float32)}, "different numbers of rows"),
    ],
)
def test_arrays_of_another_kind_are_refused(change, words):
    given = {name: array for name, array in {**arrays(), **change}.items() if array is not None}
    with pytest.raises(InvalidInput, match=words):
        check_arrays(SPEC, given)


def test_no_rows_are_refused():
    with pytest.raises(InvalidInput, match="no rows"):
        check_arrays(SPEC, arrays(0))


def test_the_first_number_that_is_not_finite_is_named():
    given = arrays()
    assert first_not_finite(SPEC, given) is None
    given["image"][1, 0, 0] = np.inf
    assert first_not_finite(SPEC, given) == (1, "image")
    given["x"][1, 1] = np.nan
    assert first_not_finite(SPEC, given) == (1, "b")


def test_nothing_pickled_is_read():
    file = io.BytesIO()
    np.savez(file, x=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for content in (file.getvalue(), b"", b"PK\x03\x04", b"\x93NUMPY", file.getvalue()[:-30]):
        with pytest.raises(InvalidInput):
            read_npz(content)


def test_a_row_written_down_reads_as_itself():
    given = RowReader(SPEC)([{**ROW, "a": 0.1, "image": [[0.3], [1e-7]]}])
    row = as_row(SPEC, given, 0)
    assert row == {"a": 0.1, "b": 2.0, "island": "Dream", "image": [[0.3], [1e-7]]}
    for name, array in RowReader(SPEC)([row]).items():
        np.testing.assert_array_equal(array, given[name])
