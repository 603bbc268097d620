"""Traces of Keras networks give what the networks give."""

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
from whyserve.explain.models.traced_network import traced_network

KERAS = [case for case in CASES if case.keras]


@pytest.mark.parametrize("case", KERAS, ids=str)
def test_the_trace_of_every_keras_network_gives_the_same_outputs(case: Case):
    network, (background, rows) = case.network(), case.rows()
    traced = traced_network(network, background)
    assert traced.run is not None
    assert traced.module is network.module
    with torch.no_grad():
        for given in (rows, background, {name: x[:1] for name, x in rows.items()}):
            assert torch.allclose(traced(given), network(given), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("case", KERAS, ids=str)
def test_the_trace_gives_the_same_gradients(case: Case):
    network, (background, rows) = case.network(), case.rows()
    wanted = torch.zeros(len(next(iter(rows.values()))), 1, dtype=torch.int64)
    try:
        own = Gradient(network, background, case.players)
    except UnsupportedNetwork:
        return  # no gradient passes through the network either
    traced = Gradient(traced_network(network, background), background, case.players)
    one, other = (method.explain(rows, wanted, Limits(samples=8)).values for method in (own, traced))
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_tracing_does_not_change_the_network():
    case = next(case for case in KERAS if case.name == "keras_dense_batch_norm_softmax")
    network, (background, rows) = case.network(), case.rows()
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    traced = traced_network(network, background)
    with torch.no_grad():
        first = traced(rows)
        assert torch.equal(traced(rows), first)
    assert all(torch.equal(value, before[name]) for name, value in network.module.state_dict().items())


def test_many_threads_get_the_same_answer():
    case = next(case for case in KERAS if case.name == "keras_cnn")
    background, rows = case.rows()
    method = Permutation(traced_network(case.network(), background), background, case.players)
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
def test_a_network_stays_as_it_is_if_its_trace_fails_or_differs(function):
    torch.manual_seed(0)
    network = Network(Lambda(function), ("x",))
    kept = traced_network(network, {"x": torch.randn(8, 3)})
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
    traced = traced_network(network, {"x": torch.randn(8, 3)})
    x = torch.randn(5, 3)
    assert traced.run is not None
    for _ in range(3):
        given = x.clone()
        assert torch.equal(traced({"x": given}), network({"x": x.clone()}))
        assert torch.equal(given, x)


def test_passes_measure_memory_and_background_with_the_trace():
    case = next(case for case in KERAS if case.name == "keras_cnn")
    network, (background, _) = case.network(), case.rows()
    own, traced = (
        Permutation(each, background, case.players).passes for each in (network, traced_network(network, background))
    )
    assert traced.row_bytes >= 0.5 * own.row_bytes
    assert torch.allclose(traced.base_values, own.base_values, rtol=1e-5, atol=1e-6)
