"""Whole columns of Arrow give the values that single cells give."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from whyserve.model.input_spec import InputSpec
from whyserve.model.spec import ModelSpec
from whyserve.tables.columns import read_columns
from whyserve.tables.rows import EVERY, TableReader

FLOAT = InputSpec.model_validate(
    {"name": "x", "features": [{"name": "a"}, {"name": "b", "whole": True}, {"name": "c", "boolean": True}]}
)
CODES = InputSpec.model_validate(
    {"name": "k", "dtype": "int64", "features": [{"name": "city", "categories": ["Rome", "Oslo"]}, {"name": "n"}]}
)
SPEC = ModelSpec.model_construct(inputs=(FLOAT, CODES))
TABLE = {
    "a": [1.5, None, 3e38, -1e39, float("nan"), 2.0, 2.0],
    "b": [1.0, 2.0, 3.5, 4.0, 5.0, 6.0, 7.0],
    "c": [True, False, True, True, False, None, True],
    "city": ["Oslo", "Rome", "Oslo", "Rome", "Rome", "Oslo", "Bonn"],
    "n": [2**40, 1, 2, 3, 4, 5, 6],
}


def reader(monkeypatch):
    monkeypatch.setattr(ModelSpec, "keys", property(lambda _: ("a", "b", "c", "city", "n")))
    return TableReader(SPEC, list(TABLE), EVERY, texts={}, vocabularies={})


@pytest.mark.parametrize("frame", [False, True], ids=["plain", "pandas categories"])
def test_columns_equal_cells(frame, monkeypatch):
    batch = pa.RecordBatch.from_pydict(TABLE)
    if frame:
        city = pa.array(pd.Categorical(TABLE["city"]))
        batch = batch.set_column(3, "city", city)
    whole = reader(monkeypatch).read(batch)
    cells = reader(monkeypatch).read([list(line) for line in zip(*TABLE.values(), strict=True)])
    assert whole.numbers.tolist() == cells.numbers.tolist() == [1]
    assert whole.faults == cells.faults
    for name, array in cells.arrays.items():
        assert whole.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(whole.arrays[name], array)


def test_only_cells_that_need_it_are_read_alone():
    _, read = read_columns((FLOAT, CODES), pa.RecordBatch.from_pydict(TABLE), {n: i for i, n in enumerate(TABLE)})
    assert read.tolist() == [True, False, False, False, False, False, False]
    texts = pa.RecordBatch.from_pydict({**TABLE, "a": list("1234567")})
    _, read = read_columns((FLOAT, CODES), texts, {n: i for i, n in enumerate(TABLE)})
    assert not read.any()


def test_large_integers_are_read_exactly():
    ids = InputSpec.model_validate({"name": "ids", "dtype": "int64", "features": [{"name": "account"}]})
    column = pa.array([2**53 + 1, None, -(2**63), 2**63 - 1], pa.int64())
    arrays, read = read_columns((ids,), pa.RecordBatch.from_arrays([column], ["account"]), {"account": 0})
    assert read.tolist() == [True, False, True, True]
    assert arrays["ids"][read, 0].tolist() == [2**53 + 1, -(2**63), 2**63 - 1]
    unsigned = pa.array([2**63, 1], pa.uint64())
    _, read = read_columns((ids,), pa.RecordBatch.from_arrays([unsigned], ["account"]), {"account": 0})
    assert read.tolist() == [False, True]
