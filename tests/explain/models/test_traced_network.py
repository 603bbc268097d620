"""Keras networks without Keras around them."""

from threading import Thread

import pytest
import torch
from torch import nn

from tests.explain.zoo.case import Case, Lambda
from tests.explain.zoo.networks import CASES
from whyserve.errors import UnsupportedNetwork
from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network
from whyserve.explain.methods.gradient import Gradient
from whyserve.explain.methods.permutation.permutation import Permutation
from whyserve.explain.models.traced_network import plain

KERAS = [case for case in CASES if case.keras]


@pytest.mark.parametrize("case", KERAS, ids=str)
def test_every_keras_network_of_the_zoo_gives_what_it_gave(case: Case):
    network, (background, rows) = case.network(), case.rows()
    quick = plain(network, background)
    assert quick.run is not None
    assert quick.module is network.module
    with torch.no_grad():
        for given in (rows, background, {name: x[:1] for name, x in rows.items()}):
            assert torch.allclose(quick(given), network(given), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", KERAS, ids=str)
def test_gradients_pass_through_it_as_through_the_network(case: Case):
    network, (background, rows) = case.network(), case.rows()
    wanted = torch.zeros(len(next(iter(rows.values()))), 1, dtype=torch.int64)
    try:
        own = Gradient(network, background, case.players)
    except UnsupportedNetwork:
        return  # no gradient passes through the network either
    quick = Gradient(plain(network, background), background, case.players)
    one, other = (method.explain(rows, wanted, Limits(samples=8)).values for method in (own, quick))
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_network_that_it_was_made_of_stays_as_it_was():
    case = next(case for case in KERAS if case.name == "keras_dense_batch_norm_softmax")
    network, (background, rows) = case.network(), case.rows()
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    quick = plain(network, background)
    with torch.no_grad():
        first = quick(rows)
        assert torch.equal(quick(rows), first)
    assert all(torch.equal(value, before[name]) for name, value in network.module.state_dict().items())


def test_many_threads_get_the_same_answer():
    case = next(case for case in KERAS if case.name == "keras_cnn")
    background, rows = case.rows()
    method = Permutation(plain(case.network(), background), background, case.players)
    wanted = torch.zeros(len(rows["x"]), 1, dtype=torch.int64)
    alone = method.explain(rows, wanted, Limits(samples=1)).values
    found: list[torch.Tensor] = []
    threads = [
        Thread(target=lambda: found.append(method.explain(rows, wanted, Limits(samples=1)).values)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(torch.equal(values, alone) for values in found)


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: x.reshape(len(x), -1).sum(1),  # the number of rows is fixed by the trace
        lambda _, x: x.sum(1) if x.sum() > 0 else -x.sum(1),  # what is done depends on values
        lambda _, x: x.sum(1) + torch.rand(x.shape[0]),  # another answer at each call
    ],
)
def test_what_cannot_be_traced_or_would_give_something_else_stays(function):
    torch.manual_seed(0)
    network = Network(Lambda(function), ("x",))
    kept = plain(network, {"x": torch.randn(8, 3)})
    assert kept is network


def test_a_change_in_place_does_not_reach_the_weights_or_the_input():
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3), requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scale = self.weight.clone().mul_(2).add_(1)
            x = x * scale
            return x.relu_().sum(1)

    network = Network(InPlace(), ("x",))
    quick = plain(network, {"x": torch.randn(8, 3)})
    x = torch.randn(5, 3)
    assert quick.run is not None
    for _ in range(3):
        given = x.clone()
        assert torch.equal(quick({"x": given}), network({"x": x.clone()}))
        assert torch.equal(given, x)


def test_memory_and_the_background_are_reckoned_with_it():
    case = next(case for case in KERAS if case.name == "keras_cnn")
    network, (background, _) = case.network(), case.rows()
    own, quick = (Permutation(each, background, case.players).passes for each in (network, plain(network, background)))
    assert quick.row_bytes >= 0.5 * own.row_bytes
    assert torch.allclose(quick.base_values, own.base_values, rtol=1e-5, atol=1e-6)
