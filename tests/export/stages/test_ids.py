"""The number of ids that a network takes, found by running it."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from whyserve.export.stages.ids import vocabularies
from whyserve.model.spec import ModelSpec

TABLE = torch.rand(9, 2)


def spec(*dtypes):
    inputs = [{"name": f"x{i}", "kind": "tokens", "dtype": dtype, "shape": [3]} for i, dtype in enumerate(dtypes)]
    output = {"names": ["y"], "scores": "values"}
    return ModelSpec.model_validate(
        {"name": "m", "framework": "torch", "task": "regression", "inputs": inputs, "output": output}
    )


@pytest.mark.parametrize(
    ("dtype", "body", "expected"),
    [
        ("int64", lambda x: F.embedding(x, TABLE), {"x0": 9}),
        ("int32", lambda x: TABLE[x.long() % 20], {}),  # takes negative integers too, so these are not ids
        ("int64", lambda x: F.one_hot(x, 5), {"x0": 5}),
        ("int64", lambda x: F.embedding(x + 2, TABLE), {}),
        ("int64", lambda x: F.embedding(x.clamp(0, 8), TABLE), {}),
        ("int64", lambda x: TABLE[x], {"x0": 9}),  # -1 is the last entry, as for Gather of ONNX
        ("int64", lambda x: TABLE[x + 2], {}),
        ("uint8", lambda x: F.embedding(x.long(), TABLE), {"x0": 9}),
        ("uint8", lambda x: x / 255, {}),
        ("float32", lambda x: x, {}),
    ],
)
def test_the_limit_is_the_size_of_the_table(dtype, body, expected):
    rows = {"x0": np.array([[1, 2, 3]] * 2, dtype)}
    assert vocabularies(spec(dtype), lambda row: body(torch.from_numpy(row["x0"])), rows) == expected


def test_each_input_has_its_own_limit():
    def run(row):
        one, other = (torch.from_numpy(row[name]) for name in ("x0", "x1"))
        return F.embedding(one, TABLE) + F.embedding(other, TABLE[:4])

    rows = {"x0": np.zeros((2, 3), np.int64), "x1": np.zeros((2, 3), np.int64)}
    assert vocabularies(spec("int64", "int64"), run, rows) == {"x0": 9, "x1": 4}
