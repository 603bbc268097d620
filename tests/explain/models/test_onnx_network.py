"""A network outside torch gets few rows at a time, and its rows keep their order."""

import numpy as np
import pytest
import torch

from whyserve.explain.models.onnx_network import outside_torch


@pytest.mark.parametrize(("shape", "largest"), [((2,), 4096), ((3, 224, 224), 6), ((1500, 1000), 1)])
def test_rows_come_in_passes_of_a_bounded_size(shape, largest):
    sizes = []

    def run(arrays):
        sizes.append(len(arrays["x"]))
        return arrays["x"].reshape(len(arrays["x"]), -1)[:, :1] + arrays["n"]

    count = 2 * largest + 1
    rows = torch.zeros(count, *shape)
    rows.view(count, -1)[:, 0] = torch.arange(count)
    table = outside_torch(run, ("x", "n"))({"x": rows, "n": torch.full((count, 1), 0.5)})
    np.testing.assert_array_equal(table.numpy()[:, 0], np.arange(count) + 0.5)
    assert sizes == [largest, largest, 1]
