"""Traces of Keras networks give what the networks give."""

from threading import Thread

import pytest
import torch
from torch import nn

from tests.explain.zoo.case import Case, Lambda
from tests.explain.zoo.networks import CASES
from tests.model.test_players import spec_of
from whyserve.errors import UnsupportedNetwork
from whyserve.explain.game.base import Limits
from whyserve.explain.game.evaluation import Passes
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.gradient import Gradient
from whyserve.explain.methods.permutation.permutation import Permutation
from whyserve.explain.models.traced_network import traced_network, without_padding

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


LENGTH = 12
TEXT = {"name": "t", "kind": "tokens", "dtype": "int64", "shape": [LENGTH], "tokenizer": "tokenizer.json"}
IDS = spec_of(TEXT)
MASKED = spec_of(TEXT, {"name": "mask", "kind": "tensor", "dtype": "int64", "shape": [LENGTH]})


class Attention(nn.Module):
    """A layer of attention to the tokens with a mask of 1, and the first token's output."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.word, self.last = nn.Embedding(20, 8), nn.Linear(8, 2)
        self.columns = set()

    def forward(self, t, mask):
        self.columns.add(t.shape[1])
        x = self.word(t)
        attended = nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=(mask != 0)[:, None])
        return self.last(attended[:, 0])


def texts():
    """Rows with 2 to 9 tokens, and their mask. Id 0 is padding."""
    t = torch.randint(1, 20, (6, LENGTH), generator=torch.Generator().manual_seed(1))
    for row, tokens in zip(t, (2, 3, 5, 6, 8, 9), strict=True):
        row[tokens:] = 0
    return {"t": t, "mask": (t != 0).long()}


@pytest.mark.parametrize("spec", [IDS, MASKED], ids=["ids", "ids and mask"])
def test_passes_have_no_column_that_is_padding_in_every_row(spec):
    attention, rows = Attention().eval().requires_grad_(False), texts()
    alone = Lambda(lambda _, t: attention(t, (t != 0).long()))
    network = Network(alone if spec is IDS else attention, tuple(item.name for item in spec.inputs))
    quick, rows = without_padding(spec, network, rows), {name: rows[name] for name in network.names}
    assert quick.padding == dict.fromkeys(network.names, 0)
    expected = network(rows).double()
    attention.columns.clear()
    passes = Passes(quick, rows, Players.elements(dict.fromkeys(rows, (LENGTH,))), 1 << 20)
    torch.testing.assert_close(passes.background_outputs, expected, rtol=0, atol=1e-6)
    assert 9 in attention.columns
    # One row of two tokens that are not padding.
    assert passes({name: x[:1] for name, x in rows.items()}).shape == (1, 2)
    assert 2 in attention.columns


@pytest.mark.parametrize(
    "function",
    [
        lambda module, t: module.last(module.word(t).mean(1)),  # padding has an effect
        lambda module, t: module.last(module.word(t).reshape(-1, LENGTH, 8)[:, 0]),  # one length only
    ],
    ids=["padding counts", "one length"],
)
def test_a_network_that_needs_padding_keeps_it(function):
    network = Network(Lambda(function, word=nn.Embedding(20, 8), last=nn.Linear(8, 2)), ("t",))
    assert network(texts()).shape == (6, 2)
    assert without_padding(IDS, network, texts()) is network
