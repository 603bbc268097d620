"""Missing values in arrays: markers, fills, and what model.toml may say."""

import numpy as np
import pytest
from pydantic import ValidationError

from whyserve.errors import InvalidInput
from whyserve.model.arrays import check_arrays
from whyserve.model.bounds import Bounds
from whyserve.model.input_spec import InputSpec
from whyserve.model.missing import Gaps, fills_of
from whyserve.model.rows import RowReader, as_row
from whyserve.model.spec import ModelSpec

FEATURES = [
    {"name": "age", "missing": {"fill": "median"}},
    {"name": "income", "missing": True},
    {"name": "owner", "boolean": True, "missing": {"fill": "mode"}},
    {"name": "size"},
]
CODES = [
    {"name": "plan", "categories": ["free", "pro"], "missing": True},
    {"name": "land", "categories": ["de", "fr"], "missing": {"fill": "fr"}},
    {"name": "rooms", "missing": {"fill": "mean"}},
    {"name": "floors", "missing": {"fill": 2}},
]
SPEC = ModelSpec.model_validate(
    {
        "name": "gaps",
        "framework": "torch",
        "task": "regression",
        "inputs": [{"name": "x", "features": FEATURES}, {"name": "codes", "dtype": "int64", "features": CODES}],
        "output": {"names": ["y"]},
    }
)
SMALLEST = np.iinfo(np.int64).min
FULL = {"age": 3.0, "income": 0.5, "owner": True, "size": 1.0, "plan": "pro", "land": "de", "rooms": 4, "floors": 1}
NULLS = {**dict.fromkeys(FULL), "size": 2.0}
ROWS = [FULL, NULLS, {**FULL, "age": 8.0, "rooms": 7}]


def test_null_becomes_a_marker_and_a_marker_null():
    arrays = RowReader(SPEC)(ROWS)
    assert np.isnan(arrays["x"][1, :3]).all()
    assert arrays["codes"][1].tolist() == [2, 2, SMALLEST, SMALLEST]
    assert [as_row(SPEC, check_arrays(SPEC, arrays), row) for row in range(3)] == ROWS


def test_fills_are_computed_from_the_values_that_are_there():
    arrays = RowReader(SPEC)(ROWS)
    fills = fills_of(SPEC, arrays)
    assert fills == {"age": 5.5, "owner": 1.0, "land": 1.0, "rooms": 6.0, "floors": 2.0}
    filled = Gaps(SPEC, fills).filled(arrays)
    np.testing.assert_array_equal(filled["x"][1], np.array([5.5, np.nan, 1, 2], np.float32))
    assert filled["codes"][1].tolist() == [2, 1, 6, 2]
    assert np.isnan(arrays["x"][1, 0])  # the given rows stay as they are
    assert Gaps(SPEC, fills).by_row(arrays) == [{}, dict.fromkeys(set(FULL) - {"size"}, True), {}]


def test_a_column_without_any_value_has_no_fill():
    with pytest.raises(InvalidInput, match='"age" is missing in every row'):
        fills_of(SPEC, RowReader(SPEC)([NULLS]))


def test_nan_elsewhere_is_still_refused_and_says_what_to_do():
    arrays = RowReader(SPEC)(ROWS)
    arrays["x"][0, 3] = np.nan
    with pytest.raises(InvalidInput, match=r"not finite; .*`missing`"):
        check_arrays(SPEC, arrays)
    arrays["x"][0, [1, 3]] = np.inf, 1
    with pytest.raises(InvalidInput, match="not finite"):
        check_arrays(SPEC, arrays)


def test_a_missing_value_is_never_out_of_range():
    bounds = Bounds(SPEC, {"age": (0, 10), "rooms": (1, 9)})
    assert bounds.outside(RowReader(SPEC)([NULLS, {**FULL, "rooms": 99}])) == [
        [],
        [{"feature": "rooms", "value": 99, "low": -1.0, "high": 11.0}],
    ]


def test_rows_to_try_lack_each_feature_alone_then_all():
    arrays = RowReader(SPEC)([FULL])
    tried, names = Gaps(SPEC, fills_of(SPEC, arrays)).rows_to_try(arrays)
    assert names == ("age", "income", "owner", "plan", "land", "rooms", "floors")
    assert np.isnan(tried["x"][:, 1]).nonzero()[0][:2].tolist() == [1, 7]
    assert (tried["codes"][:, 0] == 2).nonzero()[0][:2].tolist() == [3, 7]


REFUSED = {
    "whole number": ({"name": "a", "whole": True, "missing": True}, "float32", "cannot be NaN; .*median"),
    "integer": ({"name": "a", "missing": True}, "int64", "cannot be NaN"),
    "boolean of integers": ({"name": "a", "boolean": True, "missing": True}, "uint8", "cannot be NaN; .*mode"),
    "bool": ({"name": "a", "missing": {"fill": True}}, "bool", "dtype bool"),
    "unknown word": ({"name": "a", "missing": {"fill": "middle"}}, "float32", "median, mean, mode"),
    "fraction": ({"name": "a", "missing": {"fill": 1.5}}, "int64", "or a number"),
    "unknown category": ({"name": "a", "categories": ["b"], "missing": {"fill": "c"}}, "int64", '"mode" or a value'),
    "mean of categories": ({"name": "a", "categories": ["b"], "missing": {"fill": "mean"}}, "int64", '"mode"'),
}


@pytest.mark.parametrize(("feature", "dtype", "words"), REFUSED.values(), ids=REFUSED)
def test_what_the_network_cannot_get_is_refused(feature, dtype, words):
    with pytest.raises(ValidationError, match=words):
        InputSpec.model_validate({"name": "x", "dtype": dtype, "features": [feature]})


def test_methods_that_cannot_take_nan_cannot_be_set():
    data = SPEC.model_dump(mode="json")
    with pytest.raises(ValidationError, match="gets NaN"):
        ModelSpec.model_validate({**data, "explain": {"method": "deep"}})
