"""Keras networks with operations that tf2onnx cannot convert by itself."""

import json

import keras
import numpy as np
import pytest

from tests.seeds import seed_keras
from whyserve.errors import ModelFault
from whyserve.export.build import export_all
from whyserve.model.manifest import read_manifest

SPEC = """
name = "{name}"
framework = "keras"
task = "regression"
[[inputs]]
name = "x"
kind = "tensor"
shape = [4, 4, 2]
[output]
names = ["value"]
"""


def keras_folder(root, name, layers):
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(SPEC.format(name=name))
    seed_keras(0)
    given = keras.Input((4, 4, 2), name="x")
    value = given
    for layer in [*layers, keras.layers.Flatten(), keras.layers.Dense(1)]:
        value = layer(value)
    keras.Model(given, value).save(folder / "model.keras")
    rows = np.random.default_rng(0).normal(size=(12, 4, 4, 2)).astype(np.float32)
    np.savez(folder / "background.npz", x=rows)
    (folder / "example.json").write_text(json.dumps({"model": name, "instances": [{"x": rows[0].tolist()}]}))


@pytest.mark.slow
def test_gelu_celu_and_grouped_convolutions_are_exported_within_parity(tmp_path):
    layers = [keras.layers.Conv2D(4, 2, groups=2, activation="gelu"), keras.layers.Conv2D(2, 2, activation="celu")]
    keras_folder(tmp_path / "models", "grouped", layers)
    export_all(tmp_path / "models", tmp_path / "artifacts", 20, lambda line: None)
    manifest, _ = read_manifest(tmp_path / "artifacts" / "grouped")
    assert manifest.parity.largest <= 1e-5
    assert manifest.parity.twin_largest is not None
    assert manifest.parity.twin_largest <= 1e-5


@pytest.mark.slow
def test_an_operation_that_onnx_lacks_is_named(tmp_path):
    keras_folder(tmp_path / "models", "odd", [keras.ops.sigmoid, keras.ops.erfinv])
    with pytest.raises(ModelFault, match=r"^odd/model\.keras: ONNX has no operation for TensorFlow's Erfinv; build"):
        export_all(tmp_path / "models", tmp_path / "artifacts", 20, lambda line: None)
