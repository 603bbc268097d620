"""The number of network rows in a chunk."""

import pytest
import torch
from torch import nn

from whyserve.explain.game.evaluation import activation_bytes, quick_rows
from whyserve.explain.game.network import Network

SMALL = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
PICTURES = nn.Sequential(nn.Unflatten(1, (1, 64, 64)), nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Flatten())
# Few activations, but 16 MB of weights.
WIDE = nn.Sequential(nn.Linear(2048, 2048), nn.Linear(2048, 1))


@pytest.mark.parametrize(
    ("module", "elements", "least", "most"),
    [(SMALL, 4, 10_000, 1_000_000), (PICTURES, 4096, 10, 40), (WIDE, 2048, 128, 256)],
)
def test_a_chunk_fits_the_cache_and_a_slow_network_has_fewer_rows(module, elements, least, most):
    network = Network(module.eval(), ("x",))
    rows = quick_rows(network, activation_bytes(network, {"x": torch.zeros(1, elements)}))
    assert least <= rows <= most


def test_many_weights_need_more_rows():
    module = nn.Sequential(nn.Linear(4, 4))
    assert quick_rows(Network(module, ("x",)), 4 << 20) == 8
    module.append(nn.Embedding(4096, 4096))
    assert quick_rows(Network(module, ("x",)), 4 << 20) == 16
    assert quick_rows(Network(module, ("x",)), 1 << 30) == 4
