"""The certificate: what is measured, against what, and what follows from it."""

import pytest
import torch
from torch import nn

from whyserve.errors import WhyserveError
from whyserve.explain.certificate.certify import certify, choose_default
from whyserve.explain.certificate.trial import Trial, with_fewer_samples
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
def test_what_can_be_enumerated_is_the_yardstick(features):
    made = certificate(features)
    assert made["reference"] == "exact enumeration"
    assert made["methods"]["exact"]["distance"] == 0
    assert made["methods"]["permutation"]["distance"] < 0.1


def test_beyond_that_it_is_a_long_run_of_walks_with_its_own_error():
    made = certificate(18)
    assert made["reference"].startswith("a long run of walks, itself within 0.0")
    assert "at most 16 players" in made["methods"]["exact"]["why"]


class Counted(nn.Module):
    """Notes how many of its outputs a gradient was wanted of."""

    def __init__(self):
        super().__init__()
        self.inner, self.backward = nn.Linear(3, 5), []

    def forward(self, x):
        result = torch.tanh(self.inner(x))
        if result.requires_grad:
            result.register_hook(lambda g: self.backward.append(int((g != 0).any(0).sum())))
        return result


def test_times_are_for_the_outputs_that_a_request_asks_for():
    module = Counted()
    background = {"x": torch.randn(8, 3)}
    certify(Network(module, ("x",)), background, Players.elements({"x": (3,)}), 5, 20, asked=1)
    ways_back = len(module.backward)
    module.backward.clear()
    certify(Network(module, ("x",)), background, Players.elements({"x": (3,)}), 5, 20)
    assert ways_back < len(module.backward)


def figures(distance, ms, residual=0.0):
    return {"fits": True, "distance": distance, "residual": residual, "ms_per_row": ms}


def test_the_truest_within_the_budget_is_the_default():
    methods = {"deep": figures(0.3, 1), "permutation": figures(0.05, 15), "exact": figures(0.0, 300)}
    assert choose_default(methods, 20) == {
        "default": "permutation",
        "reason": "the truest within 20 ms a row: 5.0% from the reference, 15 ms",
    }
    assert choose_default(methods, 400)["default"] == "exact"
    assert choose_default(methods, 0.5) == {
        "default": "deep",
        "reason": "no method is within 0.5 ms a row; this one, the quickest, takes 1 ms",
    }


def test_a_method_that_samples_may_be_the_truest_with_fewer_samples():
    few = {**figures(0.12, 18), "samples": 2}
    methods = {"deep": figures(0.3, 1), "permutation": {**figures(0.02, 80), "within_budget": few}}
    assert choose_default(methods, 20) == {
        "default": "permutation",
        "reason": "the truest within 20 ms a row: 12.0% from the reference, 18 ms, with 2 samples; more come nearer",
        "samples": 2,
    }
    methods["deep"] = figures(0.1, 1)
    assert choose_default(methods, 20)["default"] == "deep"
    assert "samples" not in choose_default(methods, 20)


def test_as_many_samples_are_tried_as_the_budget_has_room_for():
    background, players = {"x": torch.randn(20, 18)}, Players.elements({"x": (18,)})
    rows = {"x": background["x"][:6]}
    trial = Trial(network(18, 2), background, players, rows, torch.arange(2).expand(6, 2), 2)
    reference = trial.prepare("permutation").explain(rows, trial.wanted, Limits(samples=64, seed=1))
    few = with_fewer_samples("permutation", trial, reference, 200)
    assert few is not None
    assert few["samples"] >= 1
    assert few["ms_per_row"] <= 200
    assert few["distance"] < 0.5
    assert few["standard_error"] > 0
    assert with_fewer_samples("permutation", trial, reference, 1e-6) is None


def test_a_certificate_tries_fewer_samples_where_those_of_its_own_take_too_long():
    """Times differ from one moment to the next on a busy machine, so that one of several certificates must show it."""
    background, players = {"x": torch.randn(20, 18)}, Players.elements({"x": (18,)})
    for _ in range(20):
        whole = certify(network(18, 2), background, players, 2, 1e6)["methods"]["permutation"]
        assert "within_budget" not in whole
        budget_ms = whole["ms_per_row"] * 0.5
        made = certify(network(18, 2), background, players, 2, budget_ms)["methods"]["permutation"]
        if "within_budget" in made:
            break
    assert made["within_budget"]["ms_per_row"] <= budget_ms


def test_of_two_as_true_it_is_the_one_that_adds_up_better():
    methods = {"gradient": figures(0.1, 5, residual=1e-3), "deep": figures(0.1, 6, residual=1e-9)}
    assert choose_default(methods, 20)["default"] == "deep"


def test_where_none_fits_each_says_why():
    with pytest.raises(WhyserveError, match="exact: too many; deep: no rule"):
        choose_default({"exact": {"fits": False, "why": "too many"}, "deep": {"fits": False, "why": "no rule"}}, 20)
