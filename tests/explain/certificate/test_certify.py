"""The certificate: what is measured, the reference, and the choice of the default method."""

import pytest
import torch
from torch import nn

from whyserve.errors import WhyserveError
from whyserve.explain.certificate.certify import certify, choose_default
from whyserve.explain.certificate.trial import Trial, measure_fewer_samples
from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players


def network(features, outputs):
    torch.manual_seed(0)
    return Network(nn.Sequential(nn.Linear(features, 16), nn.Tanh(), nn.Linear(16, outputs)), ("x",))


def certificate(features, outputs=2, **more):
    background = {"x": torch.randn(8, features)}
    return certify(network(features, outputs), background, Players.elements({"x": (features,)}), outputs, 20, **more)


@pytest.mark.parametrize("features", [4, 13])
def test_few_players_are_compared_with_exact_enumeration(features):
    result = certificate(features)
    assert result["reference"] == "exact enumeration"
    assert result["methods"]["exact"]["distance"] == 0
    assert result["methods"]["permutation"]["distance"] < 0.1


def test_many_players_are_compared_with_permutation_and_its_standard_error():
    result = certificate(18)
    assert result["reference"].startswith("permutation with 64 samples, relative standard error 0.0")
    assert "at most 16 players" in result["methods"]["exact"]["why"]


class Counted(nn.Module):
    """Records the number of outputs with a non-zero gradient in every backward pass."""

    def __init__(self):
        super().__init__()
        self.inner, self.outputs_per_pass = nn.Linear(3, 5), []

    def forward(self, x):
        result = torch.tanh(self.inner(x))
        if result.requires_grad:
            result.register_hook(lambda g: self.outputs_per_pass.append(int((g != 0).any(0).sum())))
        return result


def test_times_are_for_the_outputs_of_a_request():
    module = Counted()
    background = {"x": torch.randn(8, 3)}
    certify(Network(module, ("x",)), background, Players.elements({"x": (3,)}), 5, 20, requested=1)
    backward_passes = len(module.outputs_per_pass)
    module.outputs_per_pass.clear()
    certify(Network(module, ("x",)), background, Players.elements({"x": (3,)}), 5, 20)
    assert backward_passes < len(module.outputs_per_pass)


def figures(distance, ms, residual=0.0):
    return {"fits": True, "distance": distance, "residual": residual, "ms_per_row": ms}


def test_the_most_accurate_method_within_the_budget_is_the_default():
    methods = {"deep": figures(0.3, 1), "permutation": figures(0.05, 15), "exact": figures(0.0, 300)}
    assert choose_default(methods, 20) == {
        "default": "permutation",
        "reason": "most accurate method within 20 ms per row: 5.0% from the reference, 15 ms",
    }
    assert choose_default(methods, 400)["default"] == "exact"
    assert choose_default(methods, 0.5) == {
        "default": "deep",
        "reason": "no method is within 0.5 ms per row; the fastest method takes 1 ms",
    }


def test_a_sampling_method_may_be_the_most_accurate_with_fewer_samples():
    few = {**figures(0.12, 18), "samples": 2}
    methods = {"deep": figures(0.3, 1), "permutation": {**figures(0.02, 80), "within_budget": few}}
    assert choose_default(methods, 20) == {
        "default": "permutation",
        "reason": "most accurate method within 20 ms per row: 12.0% from the reference, 18 ms, with 2 samples; "
        "more samples improve it",
        "samples": 2,
    }
    methods["deep"] = figures(0.1, 1)
    assert choose_default(methods, 20)["default"] == "deep"
    assert "samples" not in choose_default(methods, 20)


def test_the_number_of_samples_is_the_most_within_the_budget():
    background, players = {"x": torch.randn(20, 18)}, Players.elements({"x": (18,)})
    rows = {"x": background["x"][:6]}
    trial = Trial(network(18, 2), background, players, rows, torch.arange(2).expand(6, 2), 2)
    reference = trial.prepare("permutation").explain(rows, trial.outputs, Limits(samples=64, seed=1))
    few = measure_fewer_samples("permutation", trial, reference, 200)
    assert few is not None
    assert few["samples"] >= 1
    assert few["ms_per_row"] <= 200
    assert few["distance"] < 0.5
    assert few["standard_error"] > 0
    assert measure_fewer_samples("permutation", trial, reference, 1e-6) is None


def test_fewer_samples_are_measured_if_the_usual_number_exceeds_the_budget():
    """Times vary on a busy machine: one of several certificates must show it."""
    background, players = {"x": torch.randn(20, 18)}, Players.elements({"x": (18,)})
    for _ in range(20):
        whole = certify(network(18, 2), background, players, 2, 1e6)["methods"]["permutation"]
        assert "within_budget" not in whole
        budget_ms = whole["ms_per_row"] * 0.5
        result = certify(network(18, 2), background, players, 2, budget_ms)["methods"]["permutation"]
        if "within_budget" in result:
            break
    assert result["within_budget"]["ms_per_row"] <= budget_ms


def test_equal_distances_are_decided_by_the_residual():
    methods = {"gradient": figures(0.1, 5, residual=1e-3), "deep": figures(0.1, 6, residual=1e-9)}
    assert choose_default(methods, 20)["default"] == "deep"


def test_if_no_method_fits_the_error_gives_each_reason():
    with pytest.raises(WhyserveError, match="exact: too many; deep: no rule"):
        choose_default({"exact": {"fits": False, "why": "too many"}, "deep": {"fits": False, "why": "no rule"}}, 20)
