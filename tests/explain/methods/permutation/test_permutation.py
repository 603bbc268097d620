import time
from threading import Thread

import pytest
import torch
from torch import nn

from tests.explain.trained import KINDS, trained
from whyserve.errors import InvalidInput, UnsupportedNetwork
from whyserve.explain.game.base import Limits, Stopped
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.exact import Exact
from whyserve.explain.methods.permutation.permutation import Permutation, evaluates_all, plan_rounds


class OfFunction(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)  # type: ignore[no-any-return]


def method_of(function, background: torch.Tensor) -> Permutation:
    players = Players.elements({"x": tuple(background.shape[1:])})
    return Permutation(Network(OfFunction(function), ("x",)), {"x": background}, players)


def prepared(data: str, kind: str) -> tuple[Permutation, Exact, dict[str, torch.Tensor], torch.Tensor]:
    network, background, rows = trained(data, kind)
    players = Players.elements({"x": tuple(background.shape[1:])})
    with torch.no_grad():
        top = network({"x": rows}).argmax(1, keepdim=True)
    return (
        Permutation(network, {"x": background}, players),
        Exact(network, {"x": background}, players),
        {"x": rows},
        top,
    )


def sharp_network(features: int, rows: int = 20) -> tuple[Network, torch.Tensor, torch.Tensor]:
    """A network with sharp interactions, a background and two rows."""
    torch.manual_seed(features + rows)
    module = nn.Sequential(nn.Linear(features, 24), nn.Tanh(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 2))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2.5)
    return Network(module.eval(), ("x",)), torch.randn(rows, features), torch.randn(2, features)


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_where_the_guide_is_exact_the_result_is_exact(samples):
    torch.manual_seed(3)
    background, rows = torch.randn(7, 8, dtype=torch.float64), torch.randn(3, 8, dtype=torch.float64)
    one, two = torch.randn(8, dtype=torch.float64), torch.randn(8, 8, dtype=torch.float64)

    def quadratic(x):
        return x @ one + ((x @ two) * x).sum(-1)

    wanted = torch.zeros(3, 1, dtype=torch.int64)
    method = method_of(quadratic, background)
    answer = method.explain({"x": rows}, wanted, Limits(samples=samples))
    exact = Exact(method.passes.network, {"x": background}, method.passes.players)
    truth = exact.explain({"x": rows}, wanted, Limits()).values
    assert torch.allclose(answer.values, truth, atol=1e-7)
    assert answer.residuals.abs().max() < 1e-9
    assert answer.standard_errors is not None
    assert answer.standard_errors.max() < 1e-4


def test_without_a_rule_for_deep_the_fitted_guide_finds_single_effects():
    torch.manual_seed(3)
    background, rows, one = torch.randn(9, 8), torch.randn(2, 8), torch.randn(8)
    method = method_of(lambda x: torch.special.gammaln(1e6 + 0 * x).sum(-1) * 0 + x @ one, background)
    method.deep = None
    answer = method.explain({"x": rows}, torch.zeros(2, 1, dtype=torch.int64), Limits(samples=8))
    truth = ((rows[:, None] - background) * one).mean(1)
    assert (answer.values[:, 0] - truth).abs().max() < 0.02 * truth.abs().mean()


@pytest.mark.slow
@pytest.mark.parametrize("guided", [True, False])
def test_the_bias_is_small(guided):
    """Over 200 seeds, the mean error is below 0.3 standard errors, for a strongly curved network."""
    network, background, rows = sharp_network(9, 12)
    players = Players.elements({"x": (9,)})
    wanted = torch.tensor([[0, 1], [1, 0]])
    truth = Exact(network, {"x": background}, players).explain({"x": rows}, wanted, Limits()).values
    method = Permutation(network, {"x": background}, players)
    assert method.deep is not None
    method.deep = method.deep if guided else None
    answers = [method.explain({"x": rows}, wanted, Limits(samples=2, seed=seed)) for seed in range(200)]
    mean = torch.stack([answer.values for answer in answers]).mean(0)
    error = torch.stack([answer.values for answer in answers]).std(0)
    # The mean of 200 seeds has an error of its own, 0.07 of the standard error.
    assert float(((mean - truth).abs() / error).mean()) < 0.3 * 0.5
    assert float(((mean - truth).abs() / error).max()) < 0.3


@pytest.mark.slow
def test_alike_players_get_alike_values_and_unused_ones_nothing():
    torch.manual_seed(0)
    first = nn.Linear(7, 16)
    module = nn.Sequential(first, nn.Tanh(), nn.Linear(16, 1))
    with torch.no_grad():
        first.weight.mul_(4)
        first.weight[:, 1] = first.weight[:, 0]
        first.weight[:, 2] = 0
    background, rows = torch.randn(10, 7), torch.randn(1, 7)
    background[:, 1], rows[:, 1] = background[:, 0], rows[:, 0]
    method = Permutation(Network(module.eval(), ("x",)), {"x": background}, Players.elements({"x": (7,)}))
    wanted = torch.zeros(1, 1, dtype=torch.int64)
    values = torch.stack(
        [method.explain({"x": rows}, wanted, Limits(samples=2, seed=seed)).values[0, 0] for seed in range(200)]
    )
    error = values.std(0) / 200**0.5
    assert float((values[:, 0] - values[:, 1]).mean().abs()) < 4 * float(error[0] + error[1])
    assert float(values[:, 2].mean().abs()) < 4 * float(error[2]) + 1e-9


def test_missing_values_of_the_row_and_of_the_background_are_values():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(18, 16, generator=generator)
    network = Network(
        OfFunction(lambda x: torch.tanh(torch.cat([x.nan_to_num(), x.isnan().float()], 1) @ weights).sum(1)),
        ("x",),
        takes_nan=True,
    )
    background, rows = (torch.randn(count, 9, generator=generator) for count in (12, 1))
    background[::3, 1] = background[1::4, 4] = rows[:, 4] = rows[:, 7] = torch.nan
    players = Players.elements({"x": (9,)})
    wanted = torch.zeros(1, 1, dtype=torch.int64)
    methods = (each(network, {"x": background}, players) for each in (Permutation, Exact))
    answer, exact = (method.explain({"x": rows}, wanted, Limits(samples=4)) for method in methods)
    assert answer.residuals.abs().max() < 1e-9
    assert answer.rows_evaluated < 0.5 * exact.rows_evaluated
    assert (answer.values - exact.values).abs().mean() < 0.15 * exact.values.abs().mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", ["diabetes", "wine"])
def test_is_accurate_on_trained_networks(data, kind):
    method, exact, rows, top = prepared(data, kind)
    answer, truth = method.explain(rows, top, Limits()), exact.explain(rows, top, Limits()).values
    distance = (answer.values - truth).abs().mean(-1) / truth.abs().mean(-1)
    assert distance.mean() < 0.05
    assert distance.max() < 0.08
    assert answer.residuals.abs().max() < 1e-12
    assert answer.complete


@pytest.mark.parametrize("samples", [1, 2, None, *(pytest.param(n, marks=pytest.mark.slow) for n in (4, 12, 30))])
def test_standard_errors_are_reliable(samples):
    """Over networks, small backgrounds and seeds, 98 % of values lie within three standard errors of the truth."""
    within, ratios = [], []
    for features, background_rows in ((7, 3), (8, 12), (9, 30), (10, 1), (12, 2), (11, 40)):
        network, background, rows = sharp_network(features, background_rows)
        players = Players.elements({"x": (features,)})
        wanted = torch.tensor([[0, 1], [1, 0]])
        truth = Exact(network, {"x": background}, players).explain({"x": rows}, wanted, Limits()).values
        method = Permutation(network, {"x": background}, players)
        for seed in range(6):
            answer = method.explain({"x": rows}, wanted, Limits(samples=samples, seed=seed))
            assert answer.standard_errors is not None
            error = (answer.values - truth).abs()
            within.append((error <= 3 * answer.standard_errors).flatten())
            ratios.append((error / answer.standard_errors).flatten())
    assert torch.cat(within).double().mean() >= 0.98
    assert torch.cat(ratios).mean() > 0.1, "the standard errors are too large"


def test_a_row_has_the_same_values_alone_and_in_a_batch():
    method, _, rows, top = prepared("wine", "relu")
    together = method.explain(rows, top, Limits(samples=4, seed=5))
    for row in range(len(top)):
        alone = method.explain({"x": rows["x"][row : row + 1]}, top[row : row + 1], Limits(samples=4, seed=5))
        assert torch.allclose(alone.values[0], together.values[row], atol=1e-6)
        assert alone.standard_errors is not None
        assert together.standard_errors is not None
        assert torch.allclose(alone.standard_errors[0], together.standard_errors[row], rtol=1e-3)
    other = method.explain(rows, top, Limits(samples=4, seed=6))
    assert not torch.allclose(other.values, together.values, atol=1e-4)


def test_chunks_change_nothing():
    method, _, rows, top = prepared("diabetes", "relu")
    whole = method.explain(rows, top, Limits(samples=3))
    for chunk in (2, 50, 700):
        method.passes.chunk_rows = chunk
        cut = method.explain(rows, top, Limits(samples=3))
        assert torch.allclose(cut.values, whole.values, atol=1e-6)
        assert cut.rows_evaluated == whole.rows_evaluated


def test_the_cost_of_samples():
    network, background, rows = sharp_network(10)
    method = Permutation(network, {"x": background}, Players.elements({"x": (10,)}))
    wanted = torch.zeros(2, 1, dtype=torch.int64)
    for samples in (1, 3, 12):
        answer = method.explain({"x": rows}, wanted, Limits(samples=samples))
        assert answer.rows_evaluated == pytest.approx(2 * (samples * 2 * 9 * 20 + 1), rel=0.1)
    everything = method.explain({"x": rows}, wanted, Limits(samples=35))
    assert everything.rows_evaluated == 2 * (1022 * 20 + 1)
    assert everything.standard_errors is not None
    assert everything.standard_errors.max() < 1e-5


def test_continues_until_the_standard_error_is_reached():
    network, background, rows = sharp_network(12)
    method = Permutation(network, {"x": background}, Players.elements({"x": (12,)}))
    wanted = torch.zeros(2, 1, dtype=torch.int64)
    coarse = method.explain({"x": rows}, wanted, Limits(samples=2))
    assert coarse.standard_errors is not None
    goal = float(coarse.standard_errors.max()) / 4
    fine = method.explain({"x": rows}, wanted, Limits(standard_error=goal))
    assert fine.standard_errors is not None
    assert fine.standard_errors.max() <= goal
    assert fine.rows_evaluated > coarse.rows_evaluated


def test_stops_with_the_complete_rounds():
    network, background, rows = sharp_network(18, 40)
    method = Permutation(network, {"x": background}, Players.elements({"x": (18,)}))
    wanted = torch.zeros(2, 1, dtype=torch.int64)
    with pytest.raises(Stopped):
        method.explain({"x": rows}, wanted, Limits(deadline=time.monotonic() - 1))
    first = next(plan_rounds(40, 18, Limits(samples=200), most=256)) * 2 * 40 * 2
    shares: list[float] = []

    def until(share: float) -> bool:
        shares.append(share)
        return len(shares) < 60

    method.passes.chunk_rows = 800
    stopped = method.explain({"x": rows}, wanted, Limits(samples=200, on_progress=until))
    assert not stopped.complete
    assert first < stopped.rows_evaluated < 200 * 2 * 17 * 40 * 2
    assert stopped.residuals.abs().max() < 1e-9
    assert shares == sorted(shares)
    late = method.explain({"x": rows}, wanted, Limits(samples=100_000, deadline=time.monotonic() + 0.5))
    assert not late.complete
    assert late.standard_errors is not None
    assert stopped.standard_errors is not None
    assert late.standard_errors.mean() < 2 * stopped.standard_errors.mean()


@pytest.mark.parametrize("players", [1, 2, 3])
def test_one_to_three_players(players):
    network, background, rows = sharp_network(players)
    table = Players.elements({"x": (players,)})
    wanted = torch.tensor([[0, 1], [0, 1]])
    answer = Permutation(network, {"x": background}, table).explain({"x": rows}, wanted, Limits(samples=1))
    truth = Exact(network, {"x": background}, table).explain({"x": rows}, wanted, Limits())
    assert torch.allclose(answer.values, truth.values, atol=1e-9)


def test_hundreds_of_players():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(300, 8), nn.Tanh(), nn.Linear(8, 1)).eval()
    method = Permutation(Network(module, ("x",)), {"x": torch.randn(6, 300)}, Players.elements({"x": (300,)}))
    wanted, rows = torch.zeros(1, 1, dtype=torch.int64), {"x": torch.randn(1, 300)}
    answer = method.explain(rows, wanted, Limits(samples=1))
    more = method.explain(rows, wanted, Limits(samples=12, seed=1))
    assert answer.rows_evaluated == pytest.approx(2 * 299 * 6, rel=0.02)
    assert answer.standard_errors is not None
    ratio = (answer.values - more.values).abs() / answer.standard_errors
    assert 0.55 < float((ratio < 1).double().mean()) < 0.85


def test_when_all_coalitions_are_evaluated():
    assert evaluates_all(1, 1)
    assert evaluates_all(3, 2)
    assert not evaluates_all(5, 4)
    assert evaluates_all(10, 315)
    assert not evaluates_all(30, 10_000)


def test_eight_threads_get_the_same_values_as_one_and_the_network_does_not_change():
    method, _, rows, top = prepared("diabetes", "gelu_layernorm")
    module = method.passes.network.module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    flags = [(p.requires_grad, p.grad) for p in module.parameters()]
    alone, got = method.explain(rows, top, Limits(samples=2)).values, [torch.empty(0)] * 8

    def call(place: int) -> None:
        got[place] = method.explain(rows, top, Limits(samples=2)).values

    threads = [Thread(target=call, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(alone, values) for values in got)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert [p.requires_grad for p in module.parameters()] == [flag for flag, _ in flags]
    assert all(p.grad is grad for p, (_, grad) in zip(module.parameters(), flags, strict=True))
    assert not module.training


def test_the_error_names_the_wrong_input():
    method = method_of(lambda x: x.sum(-1), torch.randn(4, 3))
    with pytest.raises(InvalidInput, match=r'"x" has shape \(2, 5\)'):
        method.explain({"x": torch.randn(2, 5)}, torch.zeros(2, 1, dtype=torch.int64), Limits())
    broken = method_of(lambda x: torch.log(x[:, 0] * x[:, 1]), torch.full((4, 5), 2.0))
    with pytest.raises(UnsupportedNetwork, match="not finite"):
        broken.explain({"x": torch.full((1, 5), -2.0)}, torch.zeros(1, 1, dtype=torch.int64), Limits())


def test_reports_its_error_after_each_round():
    network, background, rows = sharp_network(18)
    method = Permutation(network, {"x": background}, Players.elements({"x": (18,)}))
    told: list[float] = []
    answer = method.explain({"x": rows}, torch.tensor([[0], [1]]), Limits(samples=160, on_error=told.append))
    assert len(told) > 2
    assert told[-1] < told[0] / 1.5
    assert answer.standard_errors is not None
    assert told[-1] == pytest.approx(float(answer.standard_errors.mean() / answer.values.abs().mean()))
