"""Convolutions of one pixel give what torch gives."""

import pytest
import torch
from torch import nn

from whyserve.explain.game.evaluation import Passes
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.game.pointwise import QuickPointwise

DRAW = torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 6, 1),
        nn.Conv2d(8, 6, 1, stride=2, bias=False),
        nn.Conv2d(8, 6, 1, padding=1, groups=2),
        nn.Conv2d(8, 6, 1, padding="same"),
        nn.Conv2d(8, 6, 3),
        nn.Conv2d(8, 6, 1).double(),
    ],
    ids=str,
)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_has_the_same_values_and_dtype(layer, memory):
    x = torch.randn(2, 8, 9, 9, generator=DRAW).to(layer.weight.dtype).contiguous(memory_format=memory)
    with torch.no_grad():
        expected = layer(x)
        with QuickPointwise():
            found = layer(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_passes_of_a_slow_network_use_it(monkeypatch):
    layers = nn.Sequential(nn.Unflatten(1, (1, 256, 256)), nn.Conv2d(1, 64, 1), nn.Flatten(2), nn.AvgPool1d(1 << 16))
    network = Network(nn.Sequential(layers, nn.Flatten()).eval().requires_grad_(False), ("x",))
    rows = {"x": torch.randn(3, 1 << 16, generator=DRAW)}
    used, quick = [], torch.mkldnn_convolution

    def counted(*args):
        used.append(args)
        return quick(*args)

    monkeypatch.setattr(torch, "mkldnn_convolution", counted)
    passes = Passes(network, rows, Players.elements({"x": (1 << 16,)}), 1 << 30)
    assert passes.chunk_rows < 16
    assert used
    torch.testing.assert_close(passes.background_outputs, network(rows).double(), rtol=1e-5, atol=1e-6)
