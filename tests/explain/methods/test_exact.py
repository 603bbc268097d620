import time
from collections.abc import Callable
from threading import Thread

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.explain.enumeration import enumerate_shapley
from whyserve.errors import InvalidInput, TooManyPlayers, UnsupportedNetwork
from whyserve.explain.game.base import Limits, Stopped
from whyserve.explain.game.coalitions import chunks
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.exact import Exact


class TwoInputs(nn.Module):
    """An embedded token and three numbers, with a product of both."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.head(x * self.embed(token)), dim=-1)


class OfPlayers(nn.Module):
    """A network from a function of x, (rows, features)."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def mlp(features: int, outputs: int = 2) -> Network:
    torch.manual_seed(features)
    return Network(nn.Sequential(nn.Linear(features, 16), nn.GELU(), nn.Linear(16, outputs)).eval(), ("x",))


def columns(rows: int, *wanted: int) -> torch.Tensor:
    return torch.tensor([wanted] * rows)


@pytest.mark.parametrize("features", [1, 2, 3, 7])
def test_equals_the_definition(features):
    network = mlp(features)
    background, rows = {"x": torch.randn(9, features)}, {"x": torch.randn(3, features)}
    players = Players.elements({"x": (features,)})
    answer = Exact(network, background, players).explain(rows, torch.tensor([[0], [1], [0]]), Limits())
    for row, output in enumerate([0, 1, 0]):
        slow = enumerate_shapley(network, {"x": rows["x"][row]}, background, players.membership, output)
        assert answer.values[row, 0].numpy() == pytest.approx(slow, abs=1e-6)
    assert answer.residuals.abs().max() < 1e-7
    assert answer.rows_evaluated == 3 * (max(0, 2**features - 2) * 9 + 1)


def test_several_inputs_integers_and_a_player_over_both():
    torch.manual_seed(0)
    network = Network(TwoInputs().eval(), ("x", "token"))
    background = {"x": torch.randn(6, 3), "token": torch.randint(5, (6,))}
    rows = {"x": torch.randn(2, 3), "token": torch.randint(5, (2,))}
    players = Players(3, {"x": torch.tensor([0, 1, 2]), "token": torch.tensor(2)})
    answer = Exact(network, background, players).explain(rows, columns(2, 0, 1), Limits())
    for row in range(2):
        one = {name: x[row] for name, x in rows.items()}
        for k in range(2):
            slow = enumerate_shapley(network, one, background, players.membership, k)
            assert answer.values[row, k].numpy() == pytest.approx(slow, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), a=st.floats(-3, 3), b=st.floats(-3, 3))
def test_axioms(seed, a, b):
    """Efficiency, symmetry, null player and linearity, on products and absolute values of random features."""
    generator = torch.Generator().manual_seed(seed)
    background = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    background[:, 1] = background[:, 0]  # players 0 and 1 stand in the same place everywhere
    rows = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    rows[:, 1] = rows[:, 0]

    def first(x):
        return (x[:, 0] * x[:, 1] * x[:, 2]).unsqueeze(1)

    def second(x):
        return (x[:, 0] + x[:, 1] - x[:, 2]).abs().unsqueeze(1)

    def values(function):
        method = Exact(Network(OfPlayers(function), ("x",)), {"x": background}, Players.elements({"x": (4,)}))
        return method.explain({"x": rows}, columns(2, 0), Limits())

    one, two, both = values(first), values(second), values(lambda x: a * first(x) + b * second(x))
    for answer in (one, two, both):
        assert answer.residuals.abs().max() < 1e-12
        assert torch.allclose(answer.values[..., 0], answer.values[..., 1], atol=1e-12)
        assert answer.values[..., 3].abs().max() < 1e-12
    assert torch.allclose(both.values, a * one.values + b * two.values, atol=1e-11)


def test_chunks_change_nothing():
    network, players = mlp(5), Players.elements({"x": (5,)})
    background, rows = {"x": torch.randn(40, 5)}, {"x": torch.randn(6, 5)}
    whole = Exact(network, background, players)
    wanted = columns(6, 1)
    expected = whole.explain(rows, wanted, Limits()).values
    for chunk in (1, 7, 40, 90, 1300, 100_000):
        whole.passes.chunk_rows = chunk
        assert torch.allclose(whole.explain(rows, wanted, Limits()).values, expected, atol=1e-7)


@pytest.mark.parametrize("shape", [(3, 6, 5), (1, 1, 1), (10, 2, 100), (4, 0, 3)])
@pytest.mark.parametrize("limit", [1, 4, 17, 1000])
def test_chunks_cover_every_row_once_within_the_limit(shape, limit):
    rows, coalitions, background = shape
    covered = torch.zeros(shape, dtype=torch.int64)
    for chunk in chunks(rows, coalitions, background, limit):
        assert covered[chunk].numel() <= limit
        covered[chunk] += 1
    assert (covered == 1).all()


def test_too_many_players_are_refused():
    with pytest.raises(TooManyPlayers, match="at most 16 players, and this model has 17"):
        Exact(mlp(17), {"x": torch.randn(3, 17)}, Players.elements({"x": (17,)}))


def test_stops_at_a_deadline_or_on_request():
    method = Exact(mlp(8), {"x": torch.randn(50, 8)}, Players.elements({"x": (8,)}))
    method.passes.chunk_rows = 1000
    rows, shares = {"x": torch.randn(2, 8)}, []
    with pytest.raises(Stopped):
        method.explain(rows, columns(2, 0), Limits(deadline=time.monotonic() - 1))

    def after_two(share):
        shares.append(share)
        return len(shares) < 3

    with pytest.raises(Stopped):
        method.explain(rows, columns(2, 0), Limits(on_progress=after_two))
    assert len(shares) == 3
    assert shares == sorted(shares)
    assert 0 < shares[-1] < 1


def test_the_error_names_the_wrong_input():
    players = Players.elements({"x": (3,)})
    with pytest.raises(
        UnsupportedNetwork, match=r'the background: input "x" has shape \(4, 2\); \(rows, 3\) is needed'
    ):
        Exact(mlp(3), {"x": torch.randn(4, 2)}, players)
    with pytest.raises(UnsupportedNetwork, match="at least 1"):
        Exact(mlp(3), {"x": torch.randn(0, 3)}, players)
    with pytest.raises(UnsupportedNetwork, match='input "x" is missing'):
        Exact(mlp(3), {"y": torch.randn(4, 3)}, players)
    method = Exact(mlp(3), {"x": torch.randn(4, 3)}, players)
    with pytest.raises(InvalidInput, match="the explained rows"):
        method.explain({"x": torch.randn(4, 2)}, columns(4, 0), Limits())
    with pytest.raises(InvalidInput, match="not finite"):
        method.explain({"x": torch.full((1, 3), float("nan"))}, columns(1, 0), Limits())


def test_a_mix_that_is_not_finite_is_refused():
    network = Network(OfPlayers(lambda x: 1 / (x[:, :1] - x[:, 1:2])), ("x",))
    method = Exact(network, {"x": torch.tensor([[1.0, 2.0]])}, Players.elements({"x": (2,)}))
    with pytest.raises(UnsupportedNetwork, match="not finite"):
        method.explain({"x": torch.tensor([[2.0, 3.0]])}, columns(1, 0), Limits())


def test_eight_threads_get_the_same_values_as_one():
    method = Exact(mlp(6), {"x": torch.randn(30, 6)}, Players.elements({"x": (6,)}))
    rows, wanted = {"x": torch.randn(4, 6)}, columns(4, 0, 1)
    alone, got = method.explain(rows, wanted, Limits()).values, [torch.empty(0)] * 8

    def call(place):
        got[place] = method.explain(rows, wanted, Limits()).values

    threads = [Thread(target=call, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(alone, values) for values in got)
