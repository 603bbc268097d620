"""Networks trained on standardised real data. Random weights do not show the same effects."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn import datasets
from torch import nn

from tests.explain.zoo.case import Case, features
from tests.explain.zoo.dense import mlp

STEPS = 400


@cache
def standardised(name: str, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, columns) with mean 0 and standard deviation 1, and the target, in a fixed random order."""
    loaded: Any = {
        "diabetes": datasets.load_diabetes,
        "wine": datasets.load_wine,
        "cancer": datasets.load_breast_cancer,
    }
    data = loaded[name]()
    order = np.random.default_rng(0).permutation(len(data.data))
    x, y = data.data[order, :columns], data.target[order]
    if name == "diabetes":
        y = (y - y.mean()) / y.std()
    return torch.tensor((x - x.mean(0)) / x.std(0)).float(), torch.tensor(y)


def trained(name: str, columns: int, outputs: int, body: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """400 steps of Adam on all rows."""

    @cache
    def weights() -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        x, y = standardised(name, columns)
        module = body()
        logits = module[:-1] if outputs > 1 and isinstance(module, nn.Sequential) else module
        optimiser = torch.optim.Adam(module.parameters(), 1e-2)
        for _ in range(STEPS):
            optimiser.zero_grad()
            answer = logits(x)
            error = (
                nn.functional.cross_entropy(answer, y) if outputs > 1 else (answer[:, 0] - y.float()).square().mean()
            )
            error.backward()
            optimiser.step()
        return {key: value.detach() for key, value in module.state_dict().items()}

    def ready() -> nn.Module:
        module = body()
        module.load_state_dict(weights())
        return module

    return ready


def normed(columns: int, outputs: int) -> nn.Sequential:
    """GELU and LayerNorm, with a softmax over several outputs."""
    layers: list[nn.Module] = [
        nn.Linear(columns, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU(),
        nn.Linear(64, outputs),
    ]  # fmt: skip
    return nn.Sequential(*layers, *([nn.Softmax(-1)] if outputs > 1 else []))


def _case(name: str, columns: int, outputs: int, body: Callable[[], nn.Module], label: str) -> Case:
    def data(background: int, rows: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        x, _ = standardised(name, columns)
        return {"x": x[:background]}, {"x": x[background : background + rows]}

    kind = "probabilities" if outputs > 1 else "values"
    build = trained(name, columns, outputs, body)
    return Case(f"trained_{name}_{label}", build, features(columns), kind=kind, data=data)


CASES = [
    _case("diabetes", 10, 1, lambda: mlp(10, 64, 64, 1), "relu"),
    _case("diabetes", 10, 1, lambda: normed(10, 1), "gelu_norm"),
    _case("wine", 10, 3, lambda: mlp(10, 64, 64, 3, last=nn.Softmax(-1)), "relu_softmax"),
    _case("wine", 10, 3, lambda: normed(10, 3), "gelu_norm_softmax"),
    _case("cancer", 10, 2, lambda: mlp(10, 64, 64, 2, last=nn.Softmax(-1)), "relu_softmax"),
    _case("cancer", 30, 2, lambda: normed(30, 2), "gelu_norm_softmax"),
]
