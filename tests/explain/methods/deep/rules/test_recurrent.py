"""Recurrent layers as one operation, against the same layers decomposed into their operations."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from whyserve.errors import UnsupportedNetwork
from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.deep.deep import Deep

STEPS, WIDTH, SIZE = 5, 3, 4


class Same(nn.Module):
    """Turns a parameter into a computed value, so that a trace decomposes the layer."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * 1


class Reader(nn.Module):
    """Mixes some of a layer's results. With `begun`, the layer's first states depend on the input."""

    def __init__(self, layer: nn.RNNBase, reads: str, *, begun: bool = False) -> None:
        super().__init__()
        self.layer, self.reads = layer, reads
        self.count = layer.num_layers * (2 if layer.bidirectional else 1)
        widths = [getattr(layer, "proj_size", 0) or SIZE, SIZE][: 1 + isinstance(layer, nn.LSTM)]
        self.begin = nn.ModuleList(nn.Linear(WIDTH, self.count * width) for width in widths) if begun else None
        self.mix = nn.Parameter(torch.randn(200, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, first = x.shape[0], None
        if self.begin is not None:
            states = [
                each(x[:, 0]).tanh().reshape(rows, self.count, -1).transpose(0, 1).contiguous() for each in self.begin
            ]
            first = states[0] if len(states) == 1 else tuple(states)
        by_time = x if self.layer.batch_first else x.transpose(0, 1)
        out, last = self.layer(by_time) if first is None else self.layer(by_time, first)
        out = out if self.layer.batch_first else out.transpose(0, 1)
        lasts = [state.transpose(0, 1) for state in (last if isinstance(last, tuple) else (last,))]
        seen = {"all": [out, *lasts], "sequence": [out], "step": [out[:, 2]], "states": lasts, "last": lasts[-1:]}
        flat = torch.cat([part.reshape(rows, -1) for part in seen[self.reads]], -1)
        return flat @ self.mix[: flat.shape[1]]


def deep(module: nn.Module, **settings) -> Deep:
    torch.manual_seed(2)
    players = Players.elements({"x": (STEPS, WIDTH)})
    rows = torch.randn(7, STEPS, WIDTH, dtype=next(module.parameters()).dtype)
    return Deep(Network(module.eval(), ("x",)), {"x": rows}, players, **settings)


def decomposed(module: Reader) -> Reader:
    for name in [name for name, _ in module.layer.named_parameters()]:
        parametrize.register_parametrization(module.layer, name, Same())
    return module


def names(method: Deep) -> set[str]:
    return {step.name for step in method.program.live}


LAYERS = {
    "lstm": lambda **more: nn.LSTM(WIDTH, SIZE, batch_first=True, **more),
    "lstm_projected": lambda **more: nn.LSTM(WIDTH, SIZE, proj_size=2, **more),
    "gru": lambda **more: nn.GRU(WIDTH, SIZE, **more),
    "rnn_tanh": lambda **more: nn.RNN(WIDTH, SIZE, batch_first=True, **more),
    "rnn_relu": lambda **more: nn.RNN(WIDTH, SIZE, nonlinearity="relu", **more),
}
SHAPES = [{}, {"bias": False}, {"num_layers": 2, "bidirectional": True}, {"num_layers": 3, "dropout": 0.5}]


READS = ["all", "step", "states", "sequence", "last"]
# Each layer in each shape; what is read and whether the first states are begun alternate.
CASES = [
    # The first shape of each layer, and the others in the long tests.
    pytest.param(layer, shape, READS[(i + i // 5) % 5], i % 2 == 0, marks=[pytest.mark.slow] if i % len(SHAPES) else [])
    for i, (layer, shape) in enumerate(product(LAYERS, SHAPES))
]


@pytest.mark.parametrize(("layer", "shape", "reads", "begun"), CASES, ids=str)
def test_a_whole_layer_equals_its_operations(layer: str, shape: dict[str, Any], reads: str, begun: bool):
    torch.manual_seed(1)
    module = Reader(LAYERS[layer](**shape), reads, begun=begun).double()
    whole, rows = deep(module), {"x": torch.randn(3, STEPS, WIDTH, dtype=torch.float64)}
    wanted = torch.tensor([[0, 1], [1, 1], [1, 0]])
    answer = whole.explain(rows, wanted, Limits())
    assert f"aten.{layer.removesuffix('_projected')}" in names(whole)

    apart = deep(decomposed(module))
    assert not names(apart) & {"aten.lstm", "aten.gru", "aten.rnn_tanh", "aten.rnn_relu"}
    assert torch.allclose(answer.values, apart.explain(rows, wanted, Limits()).values, atol=1e-9)
    assert torch.allclose(answer.values.sum(-1), answer.predictions - answer.base_values, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
def test_chunks_of_rows_and_of_the_background_change_nothing(layer: str):
    torch.manual_seed(1)
    module = Reader(LAYERS[layer](num_layers=2, bidirectional=True), "all", begun=True)
    rows, wanted = {"x": torch.randn(5, STEPS, WIDTH)}, torch.tensor([[0, 1]]).expand(5, 2)
    at_once, by_chunks = deep(module), deep(module, memory_bytes=50_000)
    assert by_chunks.chunk_rows < 7
    one, other = (method.explain(rows, wanted, Limits()).values for method in (at_once, by_chunks))
    assert torch.allclose(one, other, atol=1e-5)


def test_kept_values_count_as_memory():
    module = Reader(nn.LSTM(WIDTH, SIZE, num_layers=2), "last")
    method = deep(module)
    assert method.background_values.kept is not None
    kept = sum(x[:, 0].numel() * x.itemsize for each in method.background_values.kept[_slot(method)] for x in each)
    assert method.row_bytes > kept


def _slot(method: Deep) -> int:
    return next(step.slot for step in method.program.live if step.name == "aten.lstm")


def test_active_dropout_is_refused():
    module = Reader(nn.LSTM(WIDTH, SIZE, num_layers=2, dropout=0.5), "last").train()
    with pytest.raises(UnsupportedNetwork, match="random"):
        Deep(Network(module, ("x",)), {"x": torch.randn(7, STEPS, WIDTH)}, Players.elements({"x": (STEPS, WIDTH)}))


def test_rows_taken_for_the_steps_of_one_sequence_are_refused():
    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(WIDTH, SIZE)  # and not batch_first

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.layer(x)[0][:, -1]
            return out

    with pytest.raises(UnsupportedNetwork, match=r"fixes the number of rows|mixes rows of the batch"):
        deep(Wrong())
