"""Log-odds and log ratios of shipped models: attributions and base value add up to them, for every method."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import MODELS
from whyserve.errors import InvalidInput, UnknownLabel
from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.registry import EXPLAINERS
from whyserve.explain.models.explainable import load_model
from whyserve.explain.models.on_scale import Layer, Logits, ending_of, network_on
from whyserve.explain.worker.batch import compute
from whyserve.jobs import ExplainJob
from whyserve.model.scale import Scale, scale_of
from whyserve.model.spec import ModelSpec
from whyserve.predict.predictor import load_predictor

ROWS = 2


@pytest.fixture(scope="module")
def loaded(artifacts):
    known = {}

    def get(name):
        if name not in known:
            known[name] = load_model(MODELS, artifacts / name, 1 << 28)
        return known[name]

    return get


def probabilities(model, rows):
    with torch.no_grad():
        return torch.softmax(model.logits(rows).double(), 1)


def explained(model, method, scale):
    rows = {name: x[:ROWS] for name, x in model.background.items()}
    columns = torch.arange(model.manifest.columns).expand(ROWS, -1)
    return probabilities(model, rows), model.explainer(method, scale=scale).explain(rows, columns, Limits())


# Wine is of Keras, penguins and breast_cancer are of torch.
@pytest.mark.parametrize(
    ("name", "method", "residual"),
    [
        ("wine", "exact", 1e-5),
        ("wine", "permutation", 1e-5),
        ("wine", "deep", 1e-5),
        ("wine", "gradient", 1e-2),
        ("penguins", "exact", 1e-5),
        ("penguins", "permutation", 1e-5),
        ("penguins", "deep", 1e-5),
        ("penguins", "gradient", 1e-2),
        ("breast_cancer", "deep", 1e-5),
        ("breast_cancer", "gradient", 1e-2),
    ],
)
def test_attributions_add_up_to_log_odds_and_log_ratios(loaded, name, method, residual):
    model = loaded(name)
    other = model.spec.output_names[0]
    p, found = explained(model, method, Scale("log_odds"))
    sums = found.base_values + found.values.sum(-1)
    size = (p / (1 - p)).log().abs().clamp_min(1)
    assert ((sums - (p / (1 - p)).log()).abs() / size).max() <= residual
    p, found = explained(model, method, scale_of(model.spec, None, other))
    ratio = (p / p[:, :1]).log()
    sums = found.base_values + found.values.sum(-1)
    assert ((sums - ratio).abs() / ratio.abs().clamp_min(1)).max() <= residual
    assert not found.values[:, 0].any()


def test_the_base_value_is_the_mean_of_the_log_odds_over_the_background(loaded):
    model = loaded("wine")
    p = probabilities(model, model.background)
    _, found = explained(model, "permutation", Scale("log_odds"))
    torch.testing.assert_close(found.base_values[0], (p / (1 - p)).log().mean(0), rtol=1e-4, atol=1e-4)


def test_a_saturated_prediction_has_a_finite_value_and_reasons(loaded, artifacts):
    model, predictor = loaded("breast_cancer"), load_predictor(artifacts / "breast_cancer", 1)
    arrays = {name: 100 * x[:1].numpy() for name, x in model.background.items()}
    served = predictor.table(arrays)
    assert served.max() == 1.0
    logits = predictor.logits(arrays)
    assert logits is not None
    assert np.isfinite(logits).all()
    job = ExplainJob.of(
        model.spec, model.digest, arrays, served, predictor.outputs.wanted("top", served),
        scale=Scale("log_odds"), logits=logits, method="deep",
    )  # fmt: skip
    (result,) = compute([job], model, lambda _: True)
    answer = json.loads(result.json)
    (output,) = answer["explanations"][0]["outputs"]
    assert answer["scale"] == "log_odds"
    assert np.isfinite(output["value"])
    assert output["value"] > 15
    assert output["value"] == pytest.approx(abs(float(logits[0, 0] - logits[0, 1])), rel=1e-5)
    shares = np.array(list(output["attributions"].values()))
    assert np.isfinite(shares).all()
    assert np.abs(shares).max() > 1
    assert abs(output["residual"]) < 1e-4 * abs(output["value"])


def spec_of(task="classification", scores="probabilities", names=("a", "b", "c")):
    key = "names" if task == "regression" else "labels"
    return ModelSpec.model_validate(
        {
            "name": "made", "framework": "torch", "task": task, "output": {key: names, "scores": scores},
            "inputs": [{"name": "x", "kind": "tabular", "features": [{"name": "f"}, {"name": "g"}]}],
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (nn.Softmax(-1), "softmax"),
        (nn.Softmax(1), "softmax"),
        (nn.Sigmoid(), "sigmoid"),
        (nn.Sequential(nn.Sigmoid(), nn.Flatten()), "sigmoid"),
        (nn.Hardsigmoid(), None),
        (nn.Sequential(nn.Softmax(-1), nn.Dropout(0.0), nn.ReLU()), None),
    ],
)
def test_the_last_operation_is_found(last, expected):
    linear = nn.Linear(2, 3)
    network = Network(nn.Sequential(linear, last).eval(), ("x",))
    rows = {"x": torch.randn(4, 2)}
    assert ending_of(spec_of(), network, rows) == expected
    if expected:
        assert torch.equal(Logits(network.module)(rows["x"]), linear(rows["x"]))


@pytest.mark.parametrize("ending", ["softmax", "sigmoid", None])
@pytest.mark.parametrize("scale", [Scale("log_odds"), Scale("log_ratio", "b")])
def test_the_layer_computes_the_scale_from_logits_and_from_probabilities(ending, scale):
    z = torch.randn(5, 3, dtype=torch.float64)
    p = z.softmax(-1) if ending == "softmax" else z.sigmoid()
    found = Layer(spec_of(), scale, ending, 3)(z if ending else p)
    right = (p / (1 - p)).log() if scale.name == "log_odds" else (p / p[:, 1:2]).log()
    torch.testing.assert_close(found, right)


def test_probabilities_of_0_and_1_are_clipped_at_the_epsilon_of_the_float():
    eps = torch.finfo(torch.float32).eps
    found = Layer(spec_of(), Scale("log_odds"), None, 3)(torch.tensor([[0.0, 1.0, 0.5]]))
    right = float(np.log((1 - 0) / eps))
    torch.testing.assert_close(found, torch.tensor([[-right, right, 0.0]]))


def test_values_and_logits_of_multilabel_are_compared_by_their_difference():
    for spec in (spec_of("regression", "values"), spec_of("multilabel", "logits")):
        scale = scale_of(spec, None, "b")
        assert scale == Scale("difference", "b")
        x = torch.randn(4, 3)
        assert torch.equal(Layer(spec, scale, None, 3)(x), x - x[:, 1:2])


@pytest.mark.parametrize("method", ["exact", "permutation", "deep", "gradient"])
@pytest.mark.parametrize("scale", [Scale("log_odds"), Scale("log_ratio", "a")])
def test_one_sigmoid_of_two_labels_is_explained_by_its_logit(method, scale):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Sigmoid()).eval()
    network, rows = Network(module, ("x",)), {"x": torch.randn(20, 3)}
    on = network_on(spec_of(names=("a", "b")), network, scale, "sigmoid", rows)
    method = EXPLAINERS[method](on, rows, Players.elements({"x": (3,)}))
    found = method.explain({"x": rows["x"][:2]}, torch.zeros(2, 1, dtype=torch.int64), Limits())
    p = module(rows["x"][:2]).detach().double()
    torch.testing.assert_close(found.base_values + found.values.sum(-1), (p / (1 - p)).log(), rtol=1e-3, atol=1e-3)


def test_a_scale_that_does_not_fit_is_refused_with_its_field():
    with pytest.raises(InvalidInput, match="no probability") as refused:
        scale_of(spec_of("regression", "values"), "log_odds")
    assert refused.value.details["field"] == "scale"
    with pytest.raises(InvalidInput, match="one output") as refused:
        scale_of(spec_of("regression", "values", ("y",)), None, "y")
    assert refused.value.details["field"] == "instead_of"
    with pytest.raises(UnknownLabel, match="available outputs: a, b, c") as refused:
        scale_of(spec_of(), None, "d")
    assert refused.value.details["field"] == "instead_of"
