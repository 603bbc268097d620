"""Rows that the original network cannot take."""

import numpy as np
import pytest

from whyserve.export.stages.stage import Table, Task, original_outputs
from whyserve.model.spec import ModelSpec

TABLE = np.arange(10.0)
SPEC = ModelSpec.model_validate(
    {
        "name": "table",
        "framework": "torch",
        "task": "regression",
        "inputs": [{"name": "x", "features": [{"name": "a"}]}],
        "output": {"names": ["y"]},
    }
)


def task(tmp_path, values, real):
    made = Task(str(tmp_path), str(tmp_path), {}, {}, real)
    made.save_rows({"x": np.array(values, np.float32)[:, None]})
    return made


def look_up(rows):
    ids = rows["x"][:, 0].astype(int)
    if (ids < 0).any():
        raise IndexError("index out of range in self")
    return TABLE[ids]


def test_invented_rows_outside_a_table_are_left_out(tmp_path):
    given = task(tmp_path, [1, 2, 9, -5, 3, 40], real=3)
    assert original_outputs(given, SPEC, look_up).tolist() == [1, 2, 9, 3]
    assert given.rows()["x"][:, 0].tolist() == [1, 2, 9, 3]
    assert given.table(Table.TAKEN).tolist() == [True, True, True, False, True, False]


def test_all_rows_are_kept_if_the_network_takes_them(tmp_path):
    given = task(tmp_path, [1, 2, 3], real=1)
    assert len(original_outputs(given, SPEC, look_up)) == 3
    assert not given.path(Table.TAKEN).exists()


def test_a_real_row_that_fails_is_an_error(tmp_path):
    with pytest.raises(IndexError, match="out of range"):
        original_outputs(task(tmp_path, [1, -1, 3], real=2), SPEC, look_up)
