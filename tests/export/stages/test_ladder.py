"""The players that an export chooses for a model that names none."""

import pytest
import torch
from torch import nn

from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network
from whyserve.explain.methods.exact import Exact
from whyserve.explain.models.row_games import game_players
from whyserve.export.stages.ladder import NEAR, Ladder, rungs
from whyserve.model.choice import default_figures, trials
from whyserve.model.spec import ModelSpec

SERIES = {"name": "series", "kind": "sequence", "dtype": "float32", "shape": [24]}
IMAGE = {"name": "image", "kind": "image", "dtype": "float32", "shape": [8, 8, 1], "range": [0, 1]}
TEXT = {"name": "text", "kind": "tokens", "dtype": "int64", "shape": [12], "tokenizer": "tokenizer.json"}
TABLE = {"name": "table", "kind": "tabular", "dtype": "float32", "features": [{"name": "a"}, {"name": "b"}]}


def spec_of(*inputs, **explain):
    output = {"names": ["y"], "scores": "values"}
    given = {"name": "model", "framework": "torch", "task": "regression", "inputs": inputs, "output": output}
    return ModelSpec.model_validate({**given, "explain": explain})


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        ([TABLE], [{}]),
        ([SERIES], [{}, {"series": {"windows": 10}}, {"series": {"windows": 5}}]),
        ([{**SERIES, "shape": [7]}], [{}, {"series": {"windows": 5}}]),
        ([IMAGE], [{}, *({"image": {"patches": [n, n]}} for n in (4, 3, 2))]),
        ([TEXT, TABLE], [{}, {"text": {"words": True}}]),
        (
            [SERIES, IMAGE],
            [{}] + [{"series": {"windows": w}, "image": {"patches": [n, n]}} for w, n in ((10, 4), (5, 3), (5, 2))],
        ),
    ],
)
def test_rungs_are_parts_that_people_know_from_fine_to_coarse(inputs, found):
    assert rungs(spec_of(*inputs)) == found


def test_players_or_a_method_of_model_toml_leave_no_choice():
    asked = {"series": {"windows": 3}}
    assert rungs(spec_of(SERIES, players=asked)) == [asked]
    assert rungs(spec_of(SERIES, method="deep")) == [{}]


def certified(steps, budget_ms=20.0, background=8, **explain):
    torch.manual_seed(0)
    spec = spec_of({**SERIES, "shape": [steps]}, **explain)
    network = Network(nn.Sequential(nn.Linear(steps, 16), nn.Tanh(), nn.Linear(16, 1)), ("series",))
    rows = {"series": torch.randn(background, steps)}
    ladder = Ladder(spec, network, rows, (budget_ms, 2000.0), lambda table: [[0]] * len(table), lambda _: None)
    return ladder, ladder.certified()


def test_few_elements_stay_the_players():
    _, found = certified(8)
    assert found.certificate["players"] == {}
    assert found.certificate["reference"] == "exact enumeration"
    assert found.certificate["default"] == "exact"  # the most accurate one


def test_many_elements_become_windows_and_the_distance_is_that_to_their_own_exact_values():
    ladder, found = certified(24)
    certificate = found.certificate
    assert certificate["players"] == {"series": {"windows": 10}}
    assert certificate["players_reason"] == "finest players within 5% of exact values in 20 ms per row"
    assert certificate["reference"] == "exact enumeration"
    assert default_figures(certificate)["distance"] <= NEAR
    near = [each for figures in certificate["methods"].values() if figures["fits"] for each in trials(figures)]
    near = [each for each in near if each["distance"] <= NEAR]
    assert default_figures(certificate)["counted_ms"] == min(each["counted_ms"] for each in near)
    row, outputs = {"series": ladder.background["series"][:1]}, torch.zeros(1, 1, dtype=torch.int64)
    limits = Limits(samples=certificate.get("samples"))
    answer = ladder.prepare(found.partition, certificate["default"]).explain(row, outputs, limits).values
    exact = Exact(ladder.network, ladder.background, game_players(found.partition.fixed))
    truth = exact.explain(row, outputs, Limits()).values
    assert (answer - truth).abs().mean() <= 2 * NEAR * truth.abs().mean()


def test_without_a_method_in_time_the_finest_small_players_are_taken():
    _, found = certified(24, budget_ms=1e-3)
    assert found.certificate["players"] == {"series": {"windows": 10}}
    assert found.certificate["players_reason"].startswith(
        "finest of at most 16 players; none are known to be within 5%"
    )
    assert found.certificate["reason"].startswith("no method within 0.001 ms per row is accurate")


def test_the_method_and_the_samples_of_model_toml_are_measured_and_are_the_default():
    _, found = certified(8, method="permutation", samples=2)
    certificate = found.certificate
    assert (certificate["default"], certificate["samples"]) == ("permutation", 2)
    assert certificate["reason"] == "set in model.toml"
    assert default_figures(certificate) == certificate["methods"]["permutation"]
    assert certificate["methods"]["exact"]["fits"]
    _, usual = certified(8, method="permutation")
    assert usual.certificate["default"] == "permutation"
    assert "samples" not in usual.certificate
