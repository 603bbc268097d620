import time
from threading import Thread

import numpy as np
import pytest
import shap
import torch
from torch import nn

from tests.explain.trained import KINDS, trained
from tests.explain.zoo.case import Case, Lambda
from tests.explain.zoo.networks import BY_NAME, FEW
from whyserve.errors import InvalidInput, UnsupportedNetwork
from whyserve.explain.game.base import Limits, Stopped
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.exact import Exact
from whyserve.explain.methods.gradient import MOST_POINTS, Gradient, quadrature


def of_function(function, background: torch.Tensor) -> Gradient:
    players = Players.elements({"x": tuple(background.shape[1:])})
    return Gradient(Network(Lambda(lambda _, x: function(x)), ("x",)), {"x": background}, players)


FIRST = torch.zeros(3, 1, dtype=torch.int64)


def test_effects_of_one_and_two_players_are_exact():
    torch.manual_seed(3)
    background, rows = torch.randn(7, 8, dtype=torch.float64), torch.randn(3, 8, dtype=torch.float64)
    one, two = torch.randn(8, dtype=torch.float64), torch.randn(8, 8, dtype=torch.float64)
    method = of_function(lambda x: x @ one + ((x @ two) * x).sum(-1), background)
    answer = method.explain({"x": rows}, FIRST, Limits(samples=2))
    truth = Exact(method.passes.network, {"x": background}, method.passes.players)
    assert torch.allclose(answer.values, truth.explain({"x": rows}, FIRST, Limits()).values, atol=1e-9)
    assert answer.standard_errors is None


def test_equals_an_integral_computed_by_hand():
    """f = x₀²x₁ from 0 to (2, 3): ∂₀ gives ∫ 2·2a·3a·2 da = 8, ∂₁ gives ∫ (2a)²·3 da = 4."""
    method = of_function(lambda x: x[:, 0] ** 2 * x[:, 1], torch.zeros(1, 2))
    answer = method.explain({"x": torch.tensor([[2.0, 3.0]])}, FIRST[:1], Limits())
    assert answer.values[0, 0].tolist() == pytest.approx([8, 4], rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_is_at_least_as_accurate_as_shap(kind):
    network, background, rows = trained("diabetes", kind)
    players = Players.elements({"x": (background.shape[1],)})
    wanted = torch.zeros(len(rows), 1, dtype=torch.int64)
    ours = Gradient(network, {"x": background}, players).explain({"x": rows}, wanted, Limits())
    truth = Exact(network, {"x": background}, players).explain({"x": rows}, wanted, Limits()).values
    theirs = shap.GradientExplainer(network.module, background).shap_values(rows, nsamples=200, rseed=0)
    apart = (torch.from_numpy(theirs).squeeze(-1) - truth[:, 0]).abs().mean()
    assert (ours.values - truth).abs().mean() <= apart
    shap_gap = (ours.predictions - ours.base_values)[:, 0] - torch.from_numpy(theirs).sum(1).squeeze(-1)
    assert ours.residuals.abs().max() < 0.3 * shap_gap.abs().max()


@pytest.mark.parametrize("case", [case for case in FEW if case.inputs["x"].high is None and len(case.inputs) == 1][::4])
def test_equals_a_sum_of_gradients_in_a_loop(case: Case):
    network = case.network()
    background, rows = case.rows()
    answer = Gradient(network, background, case.players).explain(rows, FIRST, Limits(samples=5))
    assert answer.values[1, 0].numpy() == pytest.approx(plain(network, background, rows, case), abs=2e-5)


@pytest.mark.parametrize("points", [1, 16, MOST_POINTS, MOST_POINTS + 1, 100_000])
def test_any_number_of_points_integrates_to_rounding(points):
    at, weight = quadrature(points)
    assert len(at) == len(weight) == points
    assert (at[1:] > at[:-1]).all()
    assert 0 < at[0] <= at[-1] < 1
    assert weight.sum().item() == pytest.approx(1, abs=1e-14)
    if points > 1:
        assert (weight * (3 * at).cos()).sum().item() == pytest.approx(np.sin(3) / 3, abs=1e-13)


def plain(network: Network, background, rows, case: Case, points: int = 5):
    """Integrated gradients of row 1, output 0, in a loop over background rows and points."""
    at, weight = quadrature(points)
    total = torch.zeros(rows["x"][0].shape)
    for start in background["x"]:
        for a, w in zip(at.tolist(), weight.tolist(), strict=True):
            x = (start + a * (rows["x"][1] - start))[None].requires_grad_()
            (slope,) = torch.autograd.grad(
                network({"x": x.clone()})[0, 0], x, allow_unused=True, materialize_grads=True
            )
            total += w * slope[0] * (rows["x"][1] - start) / len(background["x"])
    return case.players.collect({"x": total}).numpy()


@pytest.mark.parametrize(
    "name", ["two_inputs", "one_hot", "bag_of_tokens", "encoder_tokens", "keras_two_inputs", "tied", "squeeze_excite"]
)
def test_adds_up_with_integers_several_inputs_and_groups(name):
    case = BY_NAME[name]
    network = case.network()
    background, rows = case.rows()
    method = Gradient(network, background, case.players)
    answer = method.explain(rows, FIRST, Limits(samples=200))
    span = (method.passes.background_outputs.amax() - method.passes.background_outputs.amin()).item()
    assert answer.residuals.abs().max() < 2e-3 * span
    assert answer.values.shape == (3, 1, case.players.count)


def test_an_integer_player_gets_the_difference_of_its_embedding():
    embed = nn.Embedding(6, 3)
    network = Network(Lambda(lambda _, x, t: x.sum(-1) + embed(t.clamp(0, 5)[:, 1:]).sum((1, 2))), ("x", "t"))
    background = {"x": torch.randn(4, 2), "t": torch.randint(6, (4, 3))}
    rows = {"x": torch.randn(1, 2), "t": torch.randint(6, (1, 3))}
    answer = Gradient(network, background, Players.elements({"x": (2,), "t": (3,)})).explain(rows, FIRST[:1], Limits())
    table = embed.weight.detach().sum(1)
    expected = (table[rows["t"]] - table[background["t"]].double().mean(0)).double()[0]
    expected[0] = 0
    assert answer.values[0, 0, 2:].tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_function_without_a_gradient_is_refused_by_name():
    tokens = {"x": torch.randint(5, (4, 3))}
    players = Players.elements({"x": (3,)})
    embed = nn.Embedding(5, 2)
    padded = Lambda(lambda _, x: torch.maximum(embed(x).sum(-1), x).sum(-1))
    with pytest.raises(UnsupportedNetwork, match="meet numbers in maximum, and no gradient passes"):
        Gradient(Network(padded, ("x",)), tokens, players)
    masked = BY_NAME["keras_embedding_masked"]
    network, background = masked.network(), masked.rows()[0]
    with pytest.raises(UnsupportedNetwork, match=r"^integer (or boolean )?inputs"):
        Gradient(network, background, masked.players)
    with pytest.raises(UnsupportedNetwork, match="no gradient flows"):
        of_function(lambda x: x.detach() * 2, torch.randn(4, 3))
    with pytest.raises(InvalidInput, match=r'"x" has shape \(2, 5\)'):
        of_function(lambda x: x.sum(-1), torch.randn(4, 3)).explain({"x": torch.randn(2, 5)}, FIRST[:2], Limits())
    broken = of_function(lambda x: torch.log(x[:, 0] + 2), torch.full((4, 1), 2.0))
    with pytest.raises(UnsupportedNetwork, match="not finite"):
        broken.explain({"x": torch.full((1, 1), -5.0)}, FIRST[:1], Limits())


CHOICES = {
    "where": lambda _, x, on: torch.where(on, x, 0.5).sum(-1),
    "masked_fill": lambda _, x, on: x.masked_fill(on, -2.0).sum(-1),
    "product": lambda _, x, on: (x * on).sum(-1) - 3 * on.float()[:, 0],
    "difference": lambda _, x, on: (x - on.long()).square().sum(-1),
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_boolean_that_meets_numbers_is_exact_for_effects_of_two_players(name):
    torch.manual_seed(2)
    network = Network(Lambda(CHOICES[name]), ("x", "on"))
    background = {"x": torch.randn(6, 3), "on": torch.rand(6, 3) > 0.5}
    rows = {"x": torch.randn(3, 3), "on": torch.tensor([[True, False, True]] * 3)}
    players = Players.elements({"x": (3,), "on": (3,)})
    found = Gradient(network, background, players).explain(rows, FIRST, Limits())
    truth = Exact(network, background, players).explain(rows, FIRST, Limits())
    assert torch.allclose(found.values, truth.values, atol=1e-5)
    assert truth.values[..., 3:].abs().max() > 0.1


def test_an_input_that_is_cast_to_integers_is_refused_and_not_given_zeros():
    embed = nn.Embedding(6, 1)
    network = Network(Lambda(lambda _, x, ids: x.sum(-1) + embed(ids.long()).sum((1, 2))), ("x", "ids"))
    background = {"x": torch.randn(4, 2), "ids": torch.tensor([[0.0], [1.0], [3.0], [5.0]])}
    with pytest.raises(UnsupportedNetwork, match='no gradient reaches ids in input "ids", because the network casts'):
        Gradient(network, background, Players.elements({"x": (2,), "ids": (1,)}))
    mixed = Network(Lambda(lambda _, x: x[:, 1] + embed(x[:, 0].long()).sum(1)), ("x",))
    table = torch.cat([background["ids"], background["x"][:, :1]], 1)
    with pytest.raises(UnsupportedNetwork, match='no gradient reaches ids in input "x"'):
        Gradient(mixed, {"x": table}, Players.elements({"x": (2,)}))


def test_chunks_and_other_rows_change_nothing():
    network, background, rows = trained("wine", "relu")
    method = Gradient(network, {"x": background}, Players.elements({"x": (background.shape[1],)}))
    wanted = torch.tensor([[0, 1], [1, 2], [2, 0], [0, 1], [1, 0], [2, 1]])
    whole = method.explain({"x": rows}, wanted, Limits())
    for chunk in (5, 90):
        method.passes.chunk_rows = chunk
        alone = method.explain({"x": rows[3:4]}, wanted[3:4], Limits())
        assert torch.allclose(alone.values[0], whole.values[3], atol=1e-5)


def test_large_residuals_get_more_points_and_a_stop_keeps_the_first_ones():
    network, background, rows = trained("wine", "relu")
    method = Gradient(network, {"x": background}, Players.elements({"x": (background.shape[1],)}))
    wanted = torch.zeros(6, 1, dtype=torch.int64)
    few = method.explain({"x": rows}, wanted, Limits(samples=16))
    whole = method.explain({"x": rows}, wanted, Limits())
    assert whole.rows_evaluated > few.rows_evaluated == 6 * (16 * 100 + 1)
    assert whole.residuals.abs().mean() < few.residuals.abs().mean()
    with pytest.raises(Stopped):
        method.explain({"x": rows}, wanted, Limits(deadline=time.monotonic() - 1))
    shares: list[float] = []

    def until(share: float) -> bool:
        shares.append(share)
        return len(shares) <= 6 + 1

    method.passes.chunk_rows = 1600
    stopped = method.explain({"x": rows}, wanted, Limits(on_progress=until))
    assert not stopped.complete
    assert torch.allclose(stopped.values, few.values, atol=1e-6)
    assert shares == sorted(shares)


def test_threads_get_the_same_values_as_one_and_the_network_does_not_change():
    network, background, rows = trained("diabetes", "gelu_layernorm")
    method = Gradient(network, {"x": background}, Players.elements({"x": (10,)}))
    wanted = torch.zeros(6, 1, dtype=torch.int64)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    alone, got = method.explain({"x": rows}, wanted, Limits()).values, [torch.empty(0)] * 4

    def call(place: int) -> None:
        got[place] = method.explain({"x": rows}, wanted, Limits()).values

    threads = [Thread(target=call, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(alone, values) for values in got)
    assert all(torch.equal(value, before[name]) for name, value in network.module.state_dict().items())
    # Only the gradients of the inputs are computed: those of the parameters stay as they are.
    grads = [parameter.grad.clone() for parameter in network.module.parameters() if parameter.grad is not None]
    method.explain({"x": rows}, wanted, Limits())
    after = [parameter.grad for parameter in network.module.parameters() if parameter.grad is not None]
    assert all(torch.equal(was, now) for was, now in zip(grads, after, strict=True))
