"""whyserve.Explainer: the engine in process, on networks of torch and Keras as people have them."""

import os
import subprocess
import sys

import keras
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

import whyserve
from tests.conftest import ROOT
from whyserve.errors import InvalidInput, UnknownLabel, UnsupportedMethod
from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.exact import Exact

mpl.use("Agg")
import matplotlib.pyplot as plt
import shap

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:shap", "ignore::PendingDeprecationWarning:shap")

DATA = load_breast_cancer()
X = ((DATA.data - DATA.data.mean(0)) / DATA.data.std(0)).astype(np.float32)[:, :8]
NAMES = [str(name) for name in DATA.feature_names[:8]]


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2), nn.Softmax(-1))


def exact_values(module: nn.Module, rows: np.ndarray) -> np.ndarray:
    """(rows, features, outputs), by enumeration, against the first 60 rows."""
    explainer = Exact(Network(module.eval(), ("x",)), {"x": torch.tensor(X[:60])}, Players.elements({"x": (8,)}))
    found = explainer.explain({"x": torch.tensor(rows)}, torch.arange(2).expand(len(rows), 2), Limits())
    return found.values.movedim(1, -1).numpy()


def test_a_torch_network_as_shap_s_explainers_are_used():
    module = mlp().train()  # the caller's network stays as it is
    explainer = whyserve.Explainer(module, X[:60], method="exact")
    explanation = explainer(X[100:104])
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    np.testing.assert_allclose(explanation.values, exact_values(module, X[100:104]), atol=1e-6)
    with torch.no_grad():
        np.testing.assert_allclose(explanation.predictions, module.eval()(torch.tensor(X[100:104])), atol=1e-6)
        np.testing.assert_allclose(explanation.base_values[0], module(torch.tensor(X[:60])).mean(0), atol=1e-6)
    assert np.abs(explanation.residuals).max() < 1e-6
    assert explanation.output_names == ["0", "1"]
    assert explanation.standard_errors is None
    assert (explanation.method, explanation.method_reason) == ("exact", None)
    np.testing.assert_array_equal(explanation.data, X[100:104])


def test_auto_is_chosen_by_measuring_and_says_why():
    explainer = whyserve.Explainer(mlp(), X[:40])
    explanation = explainer(X[100:102])
    assert explanation.method == explainer.certificate["default"]
    assert "ms" in str(explanation.method_reason)


def test_a_frame_gives_its_names_and_takes_columns_in_any_order():
    frame = pd.DataFrame(X, columns=NAMES)
    explainer = whyserve.Explainer(mlp(), frame[:60], method="exact", labels=["malignant", "benign"])
    explanation = explainer(frame[100:103][NAMES[::-1]], outputs=["benign"])
    assert explanation.feature_names == NAMES
    assert explanation.values.shape == (3, 8)
    np.testing.assert_allclose(explanation.values, exact_values(mlp(), X[100:103])[..., 1], atol=1e-6)
    lines = explanation.to_frame()
    assert list(lines["output"]) == ["benign"] * 3
    np.testing.assert_allclose(lines[f"attribution.{NAMES[2]}"], explanation.values[:, 2])
    np.testing.assert_allclose(lines["value"] - lines["base_value"], explanation.values.sum(1), atol=1e-6)


def test_it_is_drawn_by_shap_and_by_itself():
    explainer = whyserve.Explainer(mlp(), pd.DataFrame(X[:60], columns=NAMES), method="exact", labels=["no", "yes"])
    explanation = explainer(X[100:120])
    shap.plots.waterfall(explanation.to_shap("yes")[0], show=False)
    words = {text.get_text() for axes in plt.gcf().axes for text in axes.findobj(mpl.text.Text)}
    assert any(NAMES[0] in word for word in words)
    shap.plots.beeswarm(explanation.to_shap("yes"), show=False)
    plt.close("all")
    assert explanation.to_shap().values.shape == (20, 8, 2)
    html = explanation._repr_html_()
    assert "<svg" in html
    assert NAMES[0] in html
    assert "20 rows" in html


def test_a_keras_model_and_categories_by_name():
    numbers = keras.Input((2,), name="numbers")
    kind = keras.Input((1,), name="kind", dtype="int64")
    known = keras.layers.Flatten()(keras.layers.Embedding(3, 2)(kind))
    hidden = keras.layers.Dense(6, "tanh")(keras.layers.Concatenate()([numbers, known]))
    model = keras.Model([numbers, kind], keras.layers.Dense(1)(hidden))
    frame = pd.DataFrame({"a": X[:50, 0], "b": X[:50, 1]})
    frame["kind"] = pd.Categorical(["x", "y", "z", "y", "x"] * 10, categories=["x", "y", "z"])
    explainer = whyserve.Explainer(model, frame, method="exact", names=["value"])
    explanation = explainer(frame[5:9])
    codes = frame["kind"].cat.codes.to_numpy()[:, None]
    answers = model.predict([frame[["a", "b"]].to_numpy(), codes], verbose=0)[:, 0]
    np.testing.assert_allclose(explanation.predictions, answers[5:9], atol=1e-5)
    np.testing.assert_allclose(explanation.base_values, answers.mean(), atol=1e-5)
    assert np.abs(explanation.residuals).max() < 1e-5
    assert list(explanation.data[:, 2]) == list(frame["kind"][5:9])
    # A text column without y has the numbers that the network was built with, all the same.
    part = frame[frame["kind"] != "y"].assign(kind=lambda each: each["kind"].astype(str))
    np.testing.assert_allclose(explainer(part[:3]).predictions, answers[part.index[:3]], atol=1e-5)
    with pytest.raises(InvalidInput, match="unknown categories: w; known categories: x, y, z"):
        explainer(frame[:1].assign(kind="w"))


def test_two_labels_on_one_output_have_opposite_signs():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1, "sigmoid")])
    explainer = whyserve.Explainer(model, X[:60], method="exact", labels=["no", "yes"])
    explanation = explainer(X[100:103])
    np.testing.assert_allclose(explanation.values[..., 0], -explanation.values[..., 1])
    np.testing.assert_allclose(explanation.predictions.sum(1), 1)
    top = explainer(X[100:110], outputs="top")
    assert {names[0] for names in top.outputs} <= {"no", "yes"}
    assert (top.predictions >= 0.5).all()


def test_an_image_a_program_and_groups():
    class Picture(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))

        def forward(self, image):
            return self.layers(image)

    torch.manual_seed(1)
    images = np.random.default_rng(0).random((30, 1, 4, 4), np.float32)
    batch = torch.export.Dim("batch")
    example = (torch.tensor(images[:3]),)
    program = torch.export.export(Picture().eval(), example, dynamic_shapes=({0: batch},))
    explanation = whyserve.Explainer(program, images, method="deep")(images[:2])
    assert explanation.values.shape == (2, 1, 4, 4, 3)
    assert np.abs(explanation.residuals).max() < 1e-5
    assert explanation.to_shap("output_1").values.shape == (2, 1, 4, 4, 1)

    grouped = whyserve.Explainer(
        mlp(), X[:60], method="exact", players={"input": {"groups": {"size": [0, 2, 3], "rest": [5, 6]}}}
    )
    explanation = grouped(X[100:102])
    assert explanation.feature_names == ["size", "input_1", "input_4", "rest", "input_7"]
    assert np.abs(explanation.residuals).max() < 1e-6


def test_wrong_use_is_one_line_that_says_what_to_do():
    explainer = whyserve.Explainer(mlp(), X[:60], method="exact")
    with pytest.raises(InvalidInput, match=r"which is one row; give rows\[None\]"):
        explainer(X[0])
    with pytest.raises(InvalidInput, match="unknown columns: nonsense"):
        explainer(pd.DataFrame({"nonsense": [1.0]}))
    with pytest.raises(UnknownLabel):
        explainer(X[:1], outputs=["merlot"])
    with pytest.raises(UnsupportedMethod, match='unknown method "best"'):
        whyserve.Explainer(mlp(), X[:60], method="best")
    with pytest.raises(InvalidInput, match='"players" has an unknown key; available keys: input'):
        whyserve.Explainer(mlp(), X[:60], players={"y": {"groups": {}}})
    with pytest.raises(InvalidInput) as caught:
        explainer(X[0])
    frames = []
    trace = caught.value.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert len(frames) == 2  # the caller's own, and the edge of the library
    assert caught.value.__suppress_context__


def test_keras_on_another_backend_is_told_to_set_it():
    code = (
        "import keras, numpy, whyserve\n"
        "model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
        "whyserve.Explainer(model, numpy.zeros((4, 2), 'float32'), method='exact')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = done.stderr.strip().splitlines()[-1]
    assert "set the environment variable KERAS_BACKEND=torch before keras is imported" in last, done.stderr


@pytest.mark.parametrize("method", ["exact", "permutation", "deep", "gradient"])
def test_log_odds_and_log_ratios_add_up(method):
    module = mlp()
    explainer = whyserve.Explainer(module, X[:60], method, labels=["no", "yes"], scale="log_odds")
    p = module(torch.tensor(X[100:103])).detach().double().numpy()
    explanation = explainer(X[100:103])
    assert explanation.scale == "log_odds"
    np.testing.assert_allclose(explanation.predictions, np.log(p / (1 - p)), rtol=1e-4, atol=1e-5)
    sums = explanation.values.sum(1) + explanation.base_values
    np.testing.assert_allclose(sums, np.log(p / (1 - p)), rtol=1e-3, atol=1e-3)
    ratio = explainer(X[100:103], instead_of="no")
    assert (ratio.scale, ratio.facts["instead_of"], ratio.output_names) == ("log_ratio", "no", ["yes"])
    np.testing.assert_allclose(ratio.values.sum(1) + ratio.base_values, np.log(p[:, 1] / p[:, 0]), rtol=1e-3, atol=1e-3)
    plain = explainer(X[100:103], scale="output")
    assert plain.scale == "output"
    np.testing.assert_allclose(plain.predictions, p, rtol=1e-5)


def test_the_certificate_is_measured_on_the_scale():
    explainer = whyserve.Explainer(mlp(), X[:60], labels=["no", "yes"], scale="log_odds")
    assert explainer.certificate["methods"]["exact"]["fits"]
    with pytest.raises(UnknownLabel, match="instead_of"):
        explainer(X[:1], instead_of="maybe")


def test_counterfactuals_cross_the_threshold_when_predicted_again():
    network = torch.nn.Linear(3, 1).requires_grad_(False)
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    explainer = whyserve.Explainer(network, rows, names=["y"], features=["a", "b", "c"], method="exact")
    limit = float(network(torch.tensor(rows)).median())
    answers = explainer.counterfactual(rows[:5], threshold=limit, count=2, changes={"c": {"fixed": True}})
    for answer in answers:
        (first, *_) = answer["found"]
        assert (first["prediction"]["value"] >= limit) != (answer["prediction"]["value"] >= limit)
        again = network(torch.tensor([[first["instance"][key] for key in "abc"]])).item()
        assert again == pytest.approx(first["prediction"]["value"], abs=1e-5)
        assert "c" not in first["changes"]
    with pytest.raises(InvalidInput, match="threshold"):
        explainer.counterfactual(rows[:1])


def test_a_tree_has_its_groups_by_row_and_output():
    """The tree of the caller, or clusters of correlated columns: radius, perimeter and area are one cluster."""
    frame = pd.DataFrame(X, columns=NAMES)
    players = {"tree": {"size": ["mean radius", "mean area"]}}
    explanation = whyserve.Explainer(mlp(), frame[:60], "owen", players=players, samples=2)(frame[100:103])
    assert np.abs(explanation.residuals).max() < 1e-6
    one = explanation[1:].output("1")
    assert one.tree is not None
    assert len(one.tree) == 2
    ((group,),) = one.tree[0]
    assert group["members"] == players["tree"]["size"]
    places = [NAMES.index(name) for name in group["members"]]
    assert group["value"] == pytest.approx(explanation.values[1, places, 1].sum())
    natural = whyserve.Explainer(mlp(), frame[:60], "owen", samples=2)(frame[100:101])
    assert natural.tree is not None
    clusters = [set(group["members"]) for group in natural.tree[0][0]]
    assert any({"mean radius", "mean perimeter", "mean area"} <= each for each in clusters)
