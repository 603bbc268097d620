"""The certificate: what is measured, the reference, and the choice of the default method."""

import multiprocessing
import os

import pytest
import torch
from torch import nn

from whyserve.errors import WhyserveError
from whyserve.explain.certificate.certify import certify, choose_default
from whyserve.explain.certificate.counting import PER_SECOND, Count
from whyserve.explain.certificate.trial import MARGIN, Trial, most_samples
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.model.choice import trials


def network(features, outputs):
    torch.manual_seed(0)
    return Network(nn.Sequential(nn.Linear(features, 16), nn.Tanh(), nn.Linear(16, outputs)), ("x",))


def certificate(features, outputs=2, budget_ms=20.0, background=8, **more):
    generator = torch.Generator().manual_seed(1)
    rows = {"x": torch.randn(background, features, generator=generator)}
    return certify(network(features, outputs), rows, Players.elements({"x": (features,)}), budget_ms, **more)


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


def test_methods_are_judged_for_the_outputs_that_a_request_explains():
    """Output 0 is linear, where gradient is exact; output 1 is not."""

    class Two(nn.Module):
        def forward(self, x):
            return torch.stack([x.sum(1), torch.sigmoid(3 * x.sum(1))], 1)

    rows = {"x": torch.randn(8, 4, generator=torch.Generator().manual_seed(0))}
    players = Players.elements({"x": (4,)})

    def figures(column):
        asked = (lambda table: [[column]] * len(table)) if column is not None else None
        return certify(Network(Two(), ("x",)), rows, players, 20, asked=asked)["methods"]["gradient"]

    assert figures(0)["distance"] < 1e-6
    assert figures(1)["distance"] > figures(None)["distance"] > 0.01
    assert figures(None)["counted_ms"] > 1.2 * figures(0)["counted_ms"]


def without_times(figures):
    if isinstance(figures, dict):
        return {key: without_times(x) for key, x in figures.items() if key != "ms_per_row"}
    return figures


def spin():
    while True:
        pass


@pytest.mark.slow
def test_a_busy_machine_changes_no_choice_and_no_figure_but_the_times():
    idle = certificate(18, budget_ms=2, background=64)
    busy = [multiprocessing.get_context("spawn").Process(target=spin, daemon=True) for _ in range(os.cpu_count() or 1)]
    for process in busy:
        process.start()
    try:
        loaded = certificate(18, budget_ms=2, background=64)
    finally:
        for process in busy:
            process.kill()
            process.join()
    assert without_times(loaded) == without_times(idle)
    assert len(list(trials(idle["methods"]["permutation"]))) == 2  # a number of samples was found too


def figures(distance, ms, residual=0.0, of_effect=0.0):
    counted = {"counted_ms": ms, "ms_per_row": 9 * ms}  # the clock decides nothing
    return {"fits": True, "distance": distance, "residual": residual, "residual_of_effect": of_effect, **counted}


def test_the_most_accurate_method_within_the_budget_is_the_default():
    methods = {"deep": figures(0.3, 1), "permutation": figures(0.05, 15), "exact": figures(0.0, 300)}
    assert choose_default(methods, 20) == {
        "default": "permutation",
        "reason": "most accurate method within 20 ms per row: 5.0% from the reference, 15 ms",
    }
    assert choose_default(methods, 400)["default"] == "exact"
    assert choose_default(methods, 0.5, 0.6) == {
        "default": "deep",
        "reason": "no method is within 0.6 ms per row; the fastest method: 30.0% from the reference, 1 ms",
    }


@pytest.mark.parametrize("weak", [figures(0.31, 1), figures(0.2, 1, of_effect=0.06)])
def test_a_method_that_is_not_reliable_gives_way_to_the_fastest_accurate_one(weak):
    methods = {"gradient": weak, "permutation": figures(0.09, 500), "kernel": figures(0.01, 600)}
    assert choose_default(methods, 20) == {
        "default": "permutation",
        "reason": "no method within 20 ms per row is accurate; fastest accurate method within 2000 ms: "
        "9.0% from the reference, 500 ms",
    }
    # None is accurate within the larger budget: the most accurate one.
    methods = {"gradient": weak, "permutation": figures(0.15, 500), "kernel": figures(0.01, 600)}
    assert choose_default(methods, 20, 550)["default"] == "permutation"
    assert choose_default(methods, 20, 400)["default"] == "gradient"


def test_without_a_known_distance_the_larger_budget_does_not_help():
    methods = {"deep": figures(None, 1, residual=1e-7), "permutation": figures(None, 900)}
    assert choose_default(methods, 20)["default"] == "deep"


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


def test_near_enough_is_decided_by_the_time():
    few = {**figures(0.04, 3), "samples": 2}
    sampling = {**figures(0.01, 5), "within_budget": few}
    methods = {"exact": figures(0, 14), "deep": figures(0.06, 1), "permutation": sampling}
    assert choose_default(methods, 20)["default"] == "exact"
    assert choose_default(methods, 20, near=0.05) == {
        "default": "permutation",
        "reason": "fastest method within 5% of the reference: 4.0% from the reference, 3 ms, with 2 samples; "
        "more samples improve it",
        "samples": 2,
    }
    assert choose_default(methods, 2, near=0.05)["default"] == "deep"


def test_the_fewest_samples_that_are_near_enough_are_found():
    """All 510 coalitions of nine features cost more than a few samples."""
    how = {"background": 64, "methods": ("exact", "permutation")}
    made = certificate(9, near=0.1, **how)
    sampling = made["methods"]["permutation"]
    few = sampling["within_budget"]
    assert (made["default"], made["samples"]) == ("permutation", few["samples"])
    assert few["distance"] <= 0.05  # half of it, because other rows may be farther
    assert few["counted_ms"] < 0.8 * sampling["counted_ms"]
    assert certificate(9, near=1e-6, **how)["default"] == "exact"


def test_a_slow_network_is_measured_on_one_row_with_a_shorter_reference():
    """Work is counted, so a network outside torch can be as slow as it likes. This one takes 20 ms a row."""
    slow = Network(network(20, 1).module, ("x",), has_gradients=False, file_bytes=2_000_000_000)
    x = torch.randn(2, 20, generator=torch.Generator().manual_seed(1))
    players, given = Players.elements({"x": (20,)}), {"x": x[:1]}
    made = certify(slow, {"x": x[1:]}, players, 20, examples=given, chosen=("permutation", 4))
    assert made["rows"] == 1
    assert made["reference"].startswith("permutation with 48 samples, relative standard error 0.")
    assert made["methods"]["permutation"]["distance"] <= 0.2
    assert 2900 < made["methods"]["permutation"]["counted_ms"] < 3500  # 152 rows


def test_a_method_is_stopped_when_its_progress_shows_that_it_needs_more_time():
    count = Count()
    within = count.limits(10).on_progress
    assert within is not None
    count.work = 3 * PER_SECOND  # before the first report, as for a guide
    assert within(0.0)
    count.work = 4 * PER_SECOND
    assert within(0.09)  # 11 s
    assert not within(0.07)  # 14 s
    count.work = 10 * PER_SECOND
    assert not within(0.99)


def test_the_number_of_samples_is_the_most_within_the_budget():
    background, players = {"x": torch.randn(20, 18)}, Players.elements({"x": (18,)})
    trial = Trial(network(18, 2), background, players, {"x": background["x"][:6]}, torch.arange(2).expand(6, 2))
    budget_ms = 4.0
    most = most_samples("permutation", trial, budget_ms)
    assert most >= 1
    method = trial.prepare("permutation")
    assert trial.counted_s(method, most) <= (1 - MARGIN) * budget_ms / 1e3 < trial.counted_s(method, most + 1)
    assert most_samples("permutation", trial, 1e-6) == 0


@pytest.mark.slow
def test_more_samples_are_tried_if_nothing_within_the_budget_is_reliable():
    """The product of 12 features has effects of all orders."""

    class Product(nn.Module):
        def forward(self, x):
            return (1 + x).prod(1, keepdim=True)

    rows = {"x": torch.randn(40, 12, generator=torch.Generator().manual_seed(0))}
    made = certify(Network(Product(), ("x",)), rows, Players.elements({"x": (12,)}), 2.5, 6, methods=("permutation",))
    sampling = made["methods"]["permutation"]
    assert sampling["within_budget"]["distance"] > 0.3
    assert sampling["within_budget_max"]["samples"] > sampling["within_budget"]["samples"]
    assert made["samples"] == sampling["within_budget_max"]["samples"]


def test_a_budget_for_all_coalitions_ends_the_search_for_the_most_samples():
    players, background = Players.elements({"x": (6,)}), {"x": torch.randn(4, 6)}
    trial = Trial(network(6, 2), background, players, {"x": background["x"][:2]}, torch.zeros(2, 1, dtype=torch.int64))
    assert 0 < most_samples("permutation", trial, 1000) < 10_000


def test_equal_distances_are_decided_by_the_residual():
    methods = {"gradient": figures(0.1, 5, residual=1e-3), "deep": figures(0.1, 6, residual=1e-9)}
    assert choose_default(methods, 20)["default"] == "deep"


def test_if_no_method_fits_the_error_gives_each_reason():
    with pytest.raises(WhyserveError, match="exact: too many; deep: no rule"):
        choose_default({"exact": {"fits": False, "why": "too many"}, "deep": {"fits": False, "why": "no rule"}}, 20)


class Padded(nn.Module):
    """A bidirectional GRU that skips padded steps (99), as Keras's Masking does."""

    def __init__(self):
        super().__init__()
        self.ahead, self.back, self.head = nn.GRUCell(2, 4), nn.GRUCell(2, 4), nn.Linear(8, 1)

    def forward(self, x):
        ends = []
        for cell, order in ((self.ahead, range(6)), (self.back, range(5, -1, -1))):
            state = x.new_zeros(len(x), 4)
            for step in order:
                is_padding = (x[:, step] == 99).all(1, keepdim=True)
                state = torch.where(is_padding, state, cell(x[:, step], state))
            ends.append(state)
        return self.head(torch.cat(ends, 1))


def test_a_method_whose_residual_exceeds_the_effect_is_not_offered():
    """The straight line from a row to a padded one leads through values that the network never saw."""
    torch.manual_seed(0)
    module = Padded().eval()
    rows = torch.rand(30, 6, 2)
    for number in range(30):
        start, stop = ((0, 0), (4, 6), (0, 2), (2, 4), (0, 6))[number % 5]
        rows[number, start:stop] = 99
    players = Players.elements({"x": (6, 2)})
    made = certify(Network(module, ("x",)), {"x": rows[:15]}, players, 20, methods=("permutation", "gradient"))
    assert made["methods"]["gradient"]["why"].endswith("residual of 8.5 times the effect")
    assert made["default"] == "permutation"
    assert made["methods"]["permutation"]["distance"] < 0.1
