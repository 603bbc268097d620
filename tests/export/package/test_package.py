"""Networks and backgrounds that cannot be packaged, with their messages; and the folders of `whyserve new`."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tests.conftest import ROOT
from whyserve.errors import WhyserveError
from whyserve.export.package.package import check, package
from whyserve.model.spec import read_spec

ROWS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
NAMES = ["low", "high"]
CATEGORIES = pd.DataFrame({"a": pd.Categorical(["x", "y"] * 5), "b": range(10), "c": range(10), "d": range(10)})
BATCH = torch.export.Dim("batch")


class Net(nn.Module):
    def __init__(self, body=lambda layer, x: layer(x)):
        super().__init__()
        self.body, self.layer = body, nn.Linear(4, 2)

    def forward(self, x):
        return self.body(self.layer, x)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((1, 2))[:, None]


def program(network, example, *free):
    shapes = ({position: torch.export.Dim(f"free{position}", min=2, max=50) for position in free},)
    return torch.export.export(network, (example,), dynamic_shapes=shapes if free else None)


def chain(*layers, shape=(4,)):
    return keras.Sequential([keras.Input(shape, name="x"), *layers])


def branches(layer, x):
    return torch.cond(x.amax() > 0, lambda y: y + 1, lambda y: y + 1.00001, (layer(x),))


def two_outputs():
    given = keras.Input((4,), name="x")
    made = keras.layers.Dense(2)(given)
    return keras.Model(given, [made, made])


def no_gamma(layer, x):
    return torch.lgamma(layer(x).abs() + 1)


LONG = ROWS.reshape(-1, 5, 2)
FAULTS: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "an operation that ONNX lacks": (lambda: Net(no_gamma), {}, "ONNX has no operation for torch's prims.lgamma"),
    "other rows": (lambda: Net(lambda layer, x: layer(x - x.mean(0))), {}, "depends on the other rows of the batch"),
    "a branch": (lambda: Net(branches), {}, "which is control flow, torch.vmap or a custom operation"),
    "several outputs": (
        lambda: Net(lambda layer, x: (layer(x), x)),
        {},
        'the network returns 2 tensors: "0" (rows, 2), "1" (rows, 4); choose one with output="0"',
    ),
    "more labels": (Net, {"labels": list("abc"), "names": ()}, "labels has 3 entries, but the network has 2 outputs"),
    "no names": (Net, {"names": ()}, "returns 2 numbers per row; name them with labels=[…] for a"),
    "columns": (Net, {"background": ROWS[:, :3]}, 'in layer "layer: Linear(in_features=4'),
    "another input": (Net, {"background": {"y": ROWS}}, 'input "x" is missing from the background; the inputs are x'),
    "text": (Net, {"background": np.array([["a"] * 4])}, 'the background of input "x" has dtype <U1'),
    "a gap": (
        Net,
        {"background": pd.DataFrame({"a": [1.0, None]})},
        "columns with missing values: a (first in row 1); fill them",
    ),
    "no number": (Net, {"background": ROWS * np.inf}, 'row 0 of the background of input "x" holds a number'),
    "no rows": (Net, {"background": ROWS[:0]}, "the background has no rows"),
    "no model": (lambda: "net", {}, "an object of type str cannot be packaged; give a torch nn.Module"),
    "feature names": (Net, {"features": ["a"]}, 'features has 1 names for input "x" (a), but its background has 4'),
    "a unit": (Net, {"units": {"mass": "g"}}, 'units names "mass", which is not a feature; the features are x_0'),
    "a free size": (
        lambda: program(Mean(), torch.rand(3, 5, 2), 0, 1),
        {"background": LONG, "names": ["mean"]},
        'dimension 1 of input "x" of the program has no fixed size',
    ),
    "fixed rows": (lambda: program(Net(), torch.rand(3, 4)), {}, "has a fixed number of rows"),
    "training": (
        lambda: program(nn.Sequential(nn.Linear(4, 2), nn.Dropout()), torch.rand(3, 4), 0),
        {},
        "exported in training mode",
    ),
    "no inputs": (
        lambda: keras.Sequential([keras.layers.Dense(2)]),
        {},
        "the Keras model has no inputs, because it was not called yet; call it on a few rows first",
    ),
    "a free dimension": (
        lambda: chain(keras.layers.GlobalAveragePooling1D(), shape=(None, 2)),
        {"background": LONG},
        'input "x" of the Keras model has shape (None, None, 2); only',
    ),
    "columns of Keras": (
        lambda: chain(keras.layers.Dense(2)),
        {"background": ROWS[:, :3]},
        'a row of the background of input "x" has shape (3,); the network takes (4,)',
    ),
    "outputs of Keras": (two_outputs, {}, 'the network returns 2 tensors: "0" (rows, 2), "1" (rows, 2); choose one'),
    "categories": (
        lambda: chain(keras.layers.Dense(2)),
        {"background": CATEGORIES},
        'input "x" takes float32, but the column "a" of its background holds categories',
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_gives_one_line_and_leaves_no_folder(fault, tmp_path):
    build, changes, words = FAULTS[fault]
    given: dict[str, Any] = {"background": ROWS, "names": NAMES, **changes}
    with pytest.raises(WhyserveError) as caught:
        package(build(), tmp_path / "models" / "mine", artifacts=tmp_path / "artifacts", **given)
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert not (tmp_path / "models" / "mine").exists()
    assert not [path for path in tmp_path.glob("artifacts/*") if path.name != ".builds"]


def test_the_name_of_the_folder_must_be_a_valid_model_name(tmp_path):
    with pytest.raises(WhyserveError, match=r'"My Model" is not a valid model name; start with a lower-case'):
        package(Net(), tmp_path / "My Model", background=ROWS, names=NAMES)


@pytest.mark.slow
def test_a_network_is_not_changed_and_its_folder_needs_no_class(tmp_path):
    network, folder = Net(lambda layer, x: torch.relu(layer(x))).train(), tmp_path / "models" / "mine"
    package(
        network, folder, background=pd.DataFrame(ROWS, columns=list("abcd")), names=NAMES,
        unit="m", units={"a": "s"}, groups={"rest": ["c", "d"]}, version=3, artifacts=tmp_path / "artifacts",
    )  # fmt: skip
    assert network.training
    spec = read_spec(folder)
    assert [(f.name, f.unit, f.group) for f in spec.inputs[0].features] == [
        ("a", "s", None), ("b", None, None), ("c", None, "rest"), ("d", None, "rest"),
    ]  # fmt: skip
    assert (spec.version, spec.output.unit, spec.output.names) == (3, "m", ("low", "high"))
    assert not re.search(r"\bNet\b", (folder / "network.py").read_text())
    report = str(check(folder))
    for line in ("inputs     x (4 features, float32)", "outputs    low, high (values)", "method     exact: "):
        assert line in report


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_new_folder_is_complete_after_training(framework, tmp_path):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WHYSERVE_")}
    folder = tmp_path / "models" / "churn"

    def run(*command, code=0):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *command],
            cwd=ROOT, env=clean, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    new = ["-m", "whyserve.cli", "new", "churn", "--framework", framework, "--models", str(folder.parent)]
    assert f"python {folder}/train.py" in run(*new)
    assert "the folder already exists" in run(*new, code=1)
    assert "cannot be read: No such file or directory" in run("-m", "whyserve.cli", "check", str(folder), code=1)
    run(str(folder / "train.py"))
    report = run("-m", "whyserve.cli", "check", str(folder))
    assert f"model      churn, version 1, from {framework}" in report
    assert "residual" in report
