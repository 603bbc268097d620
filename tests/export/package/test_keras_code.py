"""Keras models with Python code of their own become torch programs, which need no code of the caller."""

import os
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops

from tests.conftest import ROOT
from whyserve.errors import ModelFault
from whyserve.explain.models.loader import load_torch
from whyserve.export.package.network import network_of
from whyserve.export.package.output_choice import OutputChoice
from whyserve.notebook.in_memory import in_memory

ROWS = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)


def on_tensorflow(case, folder):
    """Run a function of on_tensorflow.py, where Keras runs on TensorFlow."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.export.package.on_tensorflow", case, folder],
        cwd=ROOT, env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", ["code", pytest.param("foreign", marks=pytest.mark.slow)])
def test_on_tensorflow(case, tmp_path):
    on_tensorflow(case, tmp_path)


class Two(keras.Model):  # type: ignore[misc]  # Keras is untyped
    def __init__(self):
        super().__init__()
        self.dense, self.norm = layers.Dense(3), layers.BatchNormalization()

    def call(self, left, right, training=False):
        return self.norm(self.dense(left), training=training) - self.dense(right)


class First(keras.Model):  # type: ignore[misc]
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, pair):
        return self.dense(pair[0]) * pair[1][:, :2]


def called(model, *given):
    model(*given)
    return model


def recurrent():
    given = keras.Input((4, 1), name="x")
    return keras.Model(given, layers.Lambda(lambda x: x * 2)(layers.SimpleRNN(3)(layers.Masking()(given))))


def activated():
    return keras.Sequential([keras.Input((4,), name="x"), layers.Dense(2, lambda x: ops.sin(x) * 2)])


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (lambda: called(Two(), ROWS, ROWS), ("left", "right")),
        (lambda: called(First(), [ROWS, ROWS]), ("pair_0", "pair_1")),
        (recurrent, ("x",)),
        (activated, ("x",)),
    ],
)
def test_the_program_gives_the_outputs_of_the_model(build, names):
    network = network_of(build())
    assert (network.names, network.framework) == (names, "torch")
    arrays = {name: ROWS + place for place, name in enumerate(names)}
    if names == ("x",):
        arrays["x"] = ROWS.reshape(20, *network.shapes[0])
    program = _program(network.files(arrays))
    with torch.no_grad():
        found = program(*map(torch.from_numpy, arrays.values()))
    np.testing.assert_allclose(found.numpy(), network.run(arrays), atol=1e-6)


def _program(files):
    class Named:
        name = "mine"

    return load_torch(Named(), files.__getitem__)  # type: ignore[arg-type]  # only the name is read


def test_a_model_that_was_not_called_is_refused():
    with pytest.raises(ModelFault, match="because it was not called yet; call it on a few rows first"):
        network_of(Two())


def test_a_notebook_explains_a_model_with_code_and_leaves_it_trainable():
    model = activated()
    given: dict[str, Any] = {"labels": (), "names": ["a", "b"], "features": None, "players": {}, "categories": {}}
    _, network, _ = in_memory(model, ROWS, choice=OutputChoice(), task=None, thresholds=None, missing={}, **given)
    found = network({"x": torch.from_numpy(ROWS)})
    np.testing.assert_allclose(found.numpy(), ops.convert_to_numpy(model(ROWS)), atol=1e-6)
    assert all(weight.value.requires_grad for weight in model.weights)
