"""Cells of a file that are booleans or whole numbers."""

import pytest

from whyserve.model.input_spec import InputSpec
from whyserve.tables.cells import input_reader

FEATURES = [{"name": "member", "boolean": True}, {"name": "city", "whole": True}]
TABLE = InputSpec.model_validate({"name": "x", "features": FEATURES})
MASK = InputSpec.model_validate({"name": "mask", "kind": "tensor", "dtype": "bool", "shape": [2]})


@pytest.mark.parametrize(
    ("cell", "expected"), [("True", True), ("false", False), ("1", True), (0, False), (True, True)]
)
def test_a_boolean_is_read_from_csv_and_parquet(cell, expected):
    read = input_reader(TABLE, {"member": 0, "city": 1}, None)
    assert read([cell, "4.0"]) == [expected, 4.0]
    assert input_reader(MASK, {"mask": 0}, None)(["[true, false]"]).tolist() == [True, False]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["yes", "4"], ', column "member": must be true or false'),
        (["", "4"], ', column "member": must be true or false'),
        (["true", "1.7"], ', column "city": must be a whole number'),
    ],
)
def test_other_cells_are_refused(cells, words):
    with pytest.raises(ValueError, match=words):
        input_reader(TABLE, {"member": 0, "city": 1}, None)(cells)


def test_numbers_are_no_mask():
    with pytest.raises(ValueError, match="must be nested lists of true and false of shape"):
        input_reader(MASK, {"mask": 0}, None)(["[1, 0]"])
