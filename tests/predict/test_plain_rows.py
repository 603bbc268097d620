"""The reading without a schema agrees with the schema, or leaves the request to it."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whyserve.model.input_spec import Feature, InputSpec
from whyserve.model.spec import ModelSpec, OutputSpec
from whyserve.predict.plain_rows import LEAST_BYTES, PlainRows, pack_numbers, parse_plain

NUMBERS = InputSpec(name="numbers", features=(Feature(name="a"), Feature(name="b")))
MORE = InputSpec(name="more", dtype="float64", features=(Feature(name="c"), Feature(name="d"), Feature(name="e")))
SPEC = ModelSpec(
    name="two",
    framework="torch",
    task="regression",
    inputs=(NUMBERS, MORE),
    output=OutputSpec(names=("value",), scores="values"),
)
ROW = {"a": 1.5, "b": -2, "c": 1e-3, "d": 0, "e": 1e300}


def read(text: str):
    request = parse_plain(text.encode().ljust(LEAST_BYTES))
    return request and PlainRows(SPEC).read(request)


def sent(**given):
    return json.dumps({"model": "two", **given})


@pytest.mark.parametrize("form", ["instances", "columns"])
def test_rows_become_the_arrays_of_their_inputs(form):
    # The order of the keys is not that of the features.
    rows = [ROW, dict(reversed({**ROW, "a": 7}.items()))]
    arrays = read(sent(**{form: rows if form == "instances" else {key: [row[key] for row in rows] for key in "edcba"}}))
    assert arrays is not None
    np.testing.assert_array_equal(arrays["numbers"], np.array([[1.5, -2], [7, -2]], np.float32))
    np.testing.assert_array_equal(arrays["more"], [[1e-3, 0, 1e300]] * 2)
    assert [arrays[name].dtype for name in ("numbers", "more")] == [np.float32, np.float64]
    assert all(array.flags.c_contiguous for array in arrays.values())


@pytest.mark.parametrize(
    "text",
    [
        "{", "[1]", '"a"', "null",
        sent(instances=[]), sent(instances=None), sent(instances={}), sent(instances=[1]), sent(instances=[[1, 2]]),
        sent(instances={"a": ROW}), sent(instances=[ROW, None]), sent(columns=[ROW]), sent(columns={}),
        sent(instances=[{**ROW, "f": 1}]), sent(instances=[{**ROW, "b": True}]), sent(instances=[{**ROW, "d": False}]),
        sent(instances=[{**ROW, "b": None}]), sent(instances=[{**ROW, "b": "1"}]), sent(instances=[{**ROW, "b": [1]}]),
        sent(instances=[{**ROW, "a": 1e300}]), sent(instances=[{**ROW, "a": float("nan")}]),
        sent(instances=[ROW], columns={}), sent(instances=[ROW], version=1), sent(),
        sent(model=["two"], instances=[ROW]),
        sent(columns={key: [1] for key in "abcd"}), sent(columns={key: [1] for key in "abcdf"}),
        sent(columns={key: [1] * (1 + (key == "c")) for key in "abcde"}), sent(columns=dict.fromkeys("abcde", 1)),
        sent(columns={key: [True] for key in "abcde"}), sent(columns=dict.fromkeys("abcde", "1")),
        sent(instances=[ROW])[:-3] + ', "a": 2}]}', '{"model": "two", ' + sent(instances=[ROW])[1:],
    ],
)  # fmt: skip
def test_the_schema_gets_what_may_be_invalid(text):
    assert read(text) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcdef"), inner, max_size=5),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(JSON, st.sampled_from(["instances", "columns"]))
def test_nothing_but_numbers_is_read(given, form):
    arrays = read(sent(**{form: given}))
    if arrays is not None:
        rows = (
            given
            if form == "instances"
            else [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]
        )
        assert all(set(row) == set(ROW) and {type(value) for value in row.values()} <= {int, float} for row in rows)


def test_a_short_body_is_left_to_the_schema():
    assert parse_plain(sent(instances=[ROW]).encode()) is None


@pytest.mark.parametrize("numbers", [[1.5, True], [False, 2.5], [1.5, None], [1.5, "2"], [1.5, [2]], [1.5], [1e300, 2]])
def test_only_as_many_numbers_as_fit_are_packed(numbers):
    with pytest.raises((struct.error, TypeError, OverflowError)):
        pack_numbers(numbers, (2,), "f")
