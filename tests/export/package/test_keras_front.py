"""Preprocessing layers in front of a Keras model: requests carry raw values, and get the answers of the model."""

import pytest

from tests.export.package.test_keras_code import on_tensorflow


@pytest.mark.parametrize(
    "case", ["ids", "refusals", *[pytest.param(c, marks=pytest.mark.slow) for c in ("features", "texts")]]
)
def test_on_tensorflow(case, tmp_path):
    on_tensorflow(case, tmp_path)
