"""Small networks trained on real data. Networks with random weights are too easy to explain."""

from functools import cache

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from torch import nn

from whyserve.explain.game.network import Network

LOADERS = {"diabetes": load_diabetes, "wine": load_wine, "breast_cancer": load_breast_cancer}
KINDS = ("relu", "gelu_layernorm")


@cache
def trained(data: str, kind: str, steps: int = 400) -> tuple[Network, torch.Tensor, torch.Tensor]:
    """An MLP with two layers of 64, 100 background rows and 6 other rows, each (rows, features), standardised.

    diabetes is a regression; wine and breast_cancer return softmax probabilities.
    """
    torch.manual_seed(0)
    dataset = LOADERS[data]()
    x = torch.tensor(dataset.data, dtype=torch.float32)
    x = (x - x.mean(0)) / x.std(0)
    y = torch.tensor(dataset.target)
    core = _mlp(x.shape[1], 1 if data == "diabetes" else int(y.max()) + 1, kind)
    y = ((y - y.mean()) / y.std()).float() if data == "diabetes" else y
    optimiser = torch.optim.Adam(core.parameters(), 1e-3)
    for _ in range(steps):
        out = core(x)
        loss = (out[:, 0] - y).square().mean() if data == "diabetes" else nn.functional.cross_entropy(out, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    module = core if data == "diabetes" else nn.Sequential(core, nn.Softmax(-1))
    order = torch.randperm(len(x))
    return Network(module.eval(), ("x",)), x[order[:100]], x[order[100:106]]


def _mlp(features: int, outputs: int, kind: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inside, outside in ((features, 64), (64, 64)):
        layers += [nn.Linear(inside, outside)]
        layers += [nn.ReLU()] if kind == "relu" else [nn.LayerNorm(outside), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(64, outputs))
