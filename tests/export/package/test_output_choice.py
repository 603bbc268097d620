"""Networks that return several tensors or a map: what is chosen is what is served and explained."""

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import nn

from tests.seeds import seed_keras
from whyserve.errors import InvalidInput, ModelFault
from whyserve.export.package.network import network_of
from whyserve.export.package.output_choice import OutputChoice
from whyserve.export.package.package import package
from whyserve.notebook.explainer import Explainer
from whyserve.notebook.folder import load

ROWS = np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32)
SERIES = ROWS.reshape(8, 4, 3)
IMAGES = np.random.default_rng(1).random((9, 3, 4, 5)).astype(np.float32)
Pair = namedtuple("Pair", "mean spread")


@dataclass
class Answer:
    logits: torch.Tensor
    hidden: Any = None
    loss: torch.Tensor | None = None


class Net(nn.Module):
    def __init__(self, body, *layers):
        super().__init__()
        self.body, self.layers = body, nn.ModuleList(layers)

    def forward(self, x):
        return self.body(x, *self.layers)


def net(body, *widths):
    torch.manual_seed(0)
    return Net(body, *(nn.Linear(4, width) for width in widths)).eval()


def chosen(model, rows, output=None, reduce=None):
    network = network_of(model)
    choice = OutputChoice(output, reduce)
    return network.with_output(choice).run({network.names[0]: rows}), choice.heads


BODIES = {
    "tuple": (lambda x, a, b: (a(x), b(x)), 1),
    "last": (lambda x, a, b: [a(x), b(x)], -1),
    "dict": (lambda x, a, b: {"hidden": a(x), "logits": b(x)}, "logits"),
    "number of a dict": (lambda x, a, b: {"hidden": a(x), "logits": b(x)}, 1),
    "dataclass": (lambda x, a, b: Answer(b(x), (a(x), x)), "logits"),
    "named tuple": (lambda x, a, b: Pair(a(x), b(x)), "spread"),
    "nested": (lambda x, a, b: {"heads": [a(x), b(x)], "none": None}, "heads.1"),
    "holder": (lambda x, a, b: (a(x), {"only": b(x)}), 1),
    "alone in a tuple": (lambda x, a, b: (b(x),), None),
    "alone in an object": (lambda x, a, b: Answer(b(x)), None),
    "(rows, 2, 1)": (lambda x, a, b: b(x)[:, :, None], None),
    "(rows, 1, 2)": (lambda x, a, b: b(x)[:, None], None),
}


@pytest.mark.parametrize("form", BODIES)
def test_one_tensor_is_chosen(form):
    body, output = BODIES[form]
    model = net(body, 3, 2)
    table, heads = chosen(model, ROWS, output)
    np.testing.assert_array_equal(table, model.layers[1](torch.from_numpy(ROWS)).detach())
    assert heads == []


def test_heads_are_joined_in_the_order_of_the_caller_and_named():
    model = net(lambda x, a, b: {"mean": a(x)[:, 0], "weights": b(x)}, 1, 2)
    mean, weights = (layer(torch.from_numpy(ROWS)).detach() for layer in model.layers)
    table, heads = chosen(model, ROWS, ["weights", "mean"])
    np.testing.assert_array_equal(table, torch.cat([weights, mean], 1))
    assert heads == ["weights[0]", "weights[1]", "mean"]
    assert chosen(model, ROWS, {"mu": "mean", "second": 1})[1] == ["mu", "second[0]", "second[1]"]


SEGMENT = nn.Conv2d(3, 2, 3, padding=1)
MASK = np.eye(4, 5)
REDUCTIONS: dict[str, tuple[Any, np.ndarray, Any, Any]] = {
    "mean": (SEGMENT, IMAGES, "mean", lambda y: y.mean((2, 3))),
    "max": (SEGMENT, IMAGES, "max", lambda y: y.max((2, 3))),
    "box": (SEGMENT, IMAGES, {"min": (slice(1, 3), slice(0, 4))}, lambda y: y[:, :, 1:3, :4].min((2, 3))),
    "mask": (SEGMENT, IMAGES, {"sum": MASK}, lambda y: (y * MASK).sum((2, 3))),
    "a map without channels": (Net(lambda x: x[:, 0]), IMAGES, "mean", lambda y: y.mean((1, 2))),
    "step": (Net(lambda x: x.cumsum(1)), SERIES, {"step": -1}, lambda y: y[:, -1]),
    "first steps": (Net(lambda x: x.cumsum(1)), SERIES, {"mean": slice(0, 2)}, lambda y: y[:, :2].mean(1)),
    "channels before steps": (Net(lambda x: x.mT), SERIES, {"step": 1, "axes": [2]}, lambda y: y[:, :, 1]),
    "one value per step": (Net(lambda x: x[:, :, :1]), SERIES, {"step": 2}, lambda y: y[:, 2]),
    "error": (Net(lambda x: x * 0.5), SERIES, "error", lambda y: (y**2).mean((1, 2))),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_map_is_reduced(name):
    model, rows, reduce, expected = REDUCTIONS[name]
    with torch.no_grad():
        whole = model(torch.from_numpy(rows)).numpy()
    table, heads = chosen(model, rows, reduce=reduce)
    np.testing.assert_allclose(table.reshape(len(rows), -1), expected(whole).reshape(len(rows), -1), rtol=1e-5)
    assert heads == (["error"] if name == "error" else [])


FAULTS: dict[str, tuple[Any, Any, Any, str]] = {
    "several": (BODIES["nested"][0], None, None, r'2 tensors: "heads.0" \(rows, 3\), "heads.1" \(rows, 2\); choose'),
    "unknown": (BODIES["dict"][0], "logit", None, r"output='logit' names none of them: \"hidden\""),
    "one tensor": (lambda x, a, b: a(x), "logits", None, r"returns one tensor of shape \(rows, 3\); leave output='lo"),
    "no tensor": (lambda x, a, b: 7, None, None, "returns no tensor"),
    "a map": (
        lambda x, a, b: x[:, :, None] * x[:, None],
        None,
        None,
        r'\(rows, 4, 4\), which is a map; .* reduce="mean',
    ),
    "no rows": (lambda x, a, b: a(x).mean(), None, None, r"shape \(\) for 24 rows; dimension 0 must be the rows"),
    "other rows": (lambda x, a, b: a(x)[:2], None, None, r"shape \(2, 3\) for 24 rows"),
    "a word": (lambda x, a, b: a(x), None, "median", "unknown reduce='median'; use reduce=\"mean\""),
    "two words": (lambda x, a, b: a(x), None, {"mean": None, "max": None}, "unknown reduce="),
    "a step too many": (lambda x, a, b: a(x), None, {"step": 3}, r"holds no position; the .* have shape \(3,\)"),
    "a mask of another shape": (lambda x, a, b: a(x), None, {"mean": [1, 0]}, "holds no position"),
    "an axis too many": (lambda x, a, b: a(x), None, {"mean": None, "axes": [2]}, r"no axes \(2,\)"),
    "no input alike": (lambda x, a, b: a(x), None, "error", r'\(rows, 3\), the inputs "x" \(rows, 4\)'),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_output_that_is_not_chosen_is_refused_with_what_to_add(name):
    body, output, reduce, words = FAULTS[name]
    with pytest.raises((ModelFault, InvalidInput), match=words):
        chosen(net(body, 3, 2), ROWS, output, reduce)


def keras_heads():
    seed_keras(3)
    given = keras.Input((4,), name="x")
    return keras.Model(given, [keras.layers.Dense(width, name=name)(given) for name, width in (("mu", 1), ("pi", 2))])


def test_the_outputs_of_keras_have_the_names_of_their_layers():
    model = keras_heads()
    mu, pi = (keras.ops.convert_to_numpy(each) for each in model(ROWS))
    np.testing.assert_allclose(chosen(model, ROWS, "pi")[0], pi, rtol=1e-6)
    np.testing.assert_allclose(chosen(model, ROWS, 0)[0], mu, rtol=1e-6)
    table, heads = chosen(model, ROWS, ["pi", "mu"])
    np.testing.assert_allclose(table, np.concatenate([pi, mu], 1), rtol=1e-6)
    assert heads == ["pi[0]", "pi[1]", "mu"]
    named = keras.Model(model.inputs, {"first": model.outputs[0], "deep": {"second": model.outputs[1]}})
    np.testing.assert_allclose(chosen(named, ROWS, "deep.second")[0], pi, rtol=1e-6)
    with pytest.raises(ModelFault, match=r'"mu" \(rows, 1\), "pi" \(rows, 2\); choose one with output="mu"'):
        chosen(model, ROWS)


def keras_map():
    given = keras.Input((4, 5, 3), name="x")
    return keras.Model(given, keras.layers.Conv2D(2, 3, padding="same")(given))


def autoencoder():
    return keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2, "tanh"), keras.layers.Dense(4)])


LAST = np.moveaxis(IMAGES, 1, -1)
BOX = {"max": (slice(1, 3), slice(0, 4))}
SERVED: dict[str, tuple[Any, np.ndarray, dict[str, Any], Any, list[str]]] = {
    "torch heads": (
        net(lambda x, a, b: Answer(a(x), b(x)), 1, 1), ROWS, {"output": {"mu": 0, "sigma": "hidden"}},
        lambda m, x: torch.cat([layer(torch.from_numpy(x)) for layer in m.layers], 1).detach().numpy(), ["mu", "sigma"],
    ),
    "torch map": (
        SEGMENT, IMAGES, {"reduce": {"mean": MASK}, "names": ["a", "b"]},
        lambda m, x: (m(torch.from_numpy(x)).detach().numpy() * MASK).sum((2, 3)) / MASK.sum(), ["a", "b"],
    ),
    "torch reconstruction": (
        net(lambda x, a, b: (b(x), a(x)), 4, 2), ROWS, {"output": 1, "reduce": "error"},
        lambda m, x: ((m.layers[0](torch.from_numpy(x)).detach().numpy() - x) ** 2).mean(1, keepdims=True), ["error"],
    ),
    "Keras heads": (
        keras_heads(), ROWS, {"output": ["pi", "mu"]},
        lambda m, x: np.concatenate([keras.ops.convert_to_numpy(each) for each in m(x)[::-1]], 1),
        ["pi[0]", "pi[1]", "mu"],
    ),
    "Keras map": (
        keras_map(), LAST, {"reduce": BOX, "names": ["a", "b"]},
        lambda m, x: keras.ops.convert_to_numpy(m(x))[:, 1:3, :4].max((1, 2)), ["a", "b"],
    ),
    "Keras reconstruction": (
        autoencoder(), ROWS, {"reduce": "error"},
        lambda m, x: ((keras.ops.convert_to_numpy(m(x)) - x) ** 2).mean(1, keepdims=True), ["error"],
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVED)
def test_what_is_chosen_is_served_and_explained(name, tmp_path):
    model, rows, arguments, original, names = SERVED[name]
    package(model, tmp_path / "chosen", background=rows, artifacts=tmp_path / "artifacts", **arguments)
    served = load(tmp_path / "chosen", tmp_path / "artifacts")
    expected = original(model, rows[:3])
    explanation = served.explain(rows[:3], outputs="all", progress=False)
    assert explanation.output_names == names
    scale = np.abs(expected).max()
    np.testing.assert_allclose(explanation.predicted, expected, atol=1e-5 * scale)
    np.testing.assert_allclose(explanation.base.mean(0), original(model, rows).mean(0), atol=1e-5 * scale)
    residuals = explanation.predicted - explanation.base - explanation.attributions.sum(-1)
    assert np.abs(residuals).max() < 1e-5 * scale


def test_a_notebook_explains_a_chosen_output():
    model = net(lambda x, a, b: {"mean": a(x), "log_var": b(x)}, 1, 1)
    explanation = Explainer(model, ROWS, "exact", output=["log_var", "mean"])(ROWS[:2])
    assert explanation.output_names == ["log_var", "mean"]
    expected = model.layers[0](torch.from_numpy(ROWS[:2]))[:, 0].detach()
    np.testing.assert_allclose(explanation.output("mean").predictions, expected, rtol=1e-5)
    assert np.abs(explanation.residuals).max() < 1e-6
