"""Dense networks: every activation, reuse, gates, mixtures, residual and densely connected blocks, heads."""

import re
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tests.explain.zoo.case import Case, Lambda, Spec, features

ACTIVATIONS: list[nn.Module] = [
    nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(), nn.PReLU(8), nn.RReLU(), nn.ELU(), nn.CELU(), nn.SELU(),
    nn.GELU(),    nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(beta=2), nn.Softsign(),
    nn.Hardtanh(),
    nn.Hardsigmoid(), nn.Hardswish(), nn.ReLU6(), nn.LogSigmoid(), nn.Tanhshrink(), nn.Softshrink(), nn.Hardshrink(),
    nn.Threshold(0.1, -0.2), nn.Softmin(-1), nn.Softmax(-1), nn.LogSoftmax(-1), nn.GLU(),
]  # fmt: skip

FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "exp": torch.exp,
    "log1p_abs": lambda x: torch.log1p(x.abs()),
    "sqrt_square": lambda x: torch.sqrt(x * x + 0.1),
    "square": torch.square,
    "cube": lambda x: x**3,
    "pow_of_constant": lambda x: 1.5**x,
    "reciprocal": lambda x: 1 / (1 + x * x),
    "rsqrt": lambda x: torch.rsqrt(1 + x * x),
    "sin_cos": lambda x: torch.sin(x) + torch.cos(2 * x),
    "erf": torch.erf,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "abs_sign": lambda x: x.abs() + torch.sign(x),
    "floor": lambda x: torch.floor(2 * x),
    "clamp": lambda x: x.clamp(-0.3, 0.4),
    "clamp_min": lambda x: x.clamp_min(0.1),
    "maximum": lambda x: torch.maximum(x, x.flip(-1)),
    "minimum": lambda x: torch.minimum(x[:, :4], x[:, 4:]),
    "where": lambda x: torch.where(x > 0.1, x * x, -x),
    "where_of_two": lambda x: torch.where(x[:, :4] > x[:, 4:], x[:, :4], 2 * x[:, 4:] + 1),
    "masked": lambda x: x.masked_fill(x < -0.2, 0.5) * (x > 0).to(x.dtype),
    "relu_functional": F.relu,
    "relu_method": lambda x: x.relu_(),
    "gelu_functional": F.gelu,
    "glu_functional": F.glu,
    "division": lambda x: x[:, :4] / (1 + x[:, 4:] ** 2),
    "normalize": lambda x: F.normalize(x, dim=-1),
    "softmax_by_hand": lambda x: x.exp() / x.exp().sum(-1, keepdim=True),
    "logsumexp": lambda x: torch.logsumexp(x.view(-1, 2, 4), -1),
    "cosine": lambda x: F.cosine_similarity(x[:, :4], x[:, 4:], dim=-1).unsqueeze(1).expand(-1, 3),
    "amax": lambda x: x.view(-1, 2, 4).amax(-1),
    "max_dim": lambda x: x.view(-1, 2, 4).max(-1).values,
    "cumsum": lambda x: torch.cumsum(x, -1) * x,
    "norm": lambda x: torch.linalg.vector_norm(x.view(-1, 4, 2), dim=-1),
    "var_std": lambda x: torch.cat([x.var(-1, keepdim=True), x.std(-1, keepdim=True)], -1),
    "prod": lambda x: torch.prod(x.view(-1, 4, 2), -1),
    "einsum": lambda x: torch.einsum("bi,bj->bij", x[:, :4], x[:, 4:]).flatten(1),
    "outer_stack": lambda x: torch.stack([x[:, 0] * x[:, 1], x[:, 2], x[:, ::3].sum(-1)], 1),
}


def around(middle: nn.Module | Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """Linear, `middle`, linear."""
    first = nn.Linear(6, 8)
    middle = deepcopy(middle)  # each network has weights of its own
    with torch.no_grad():
        width = middle(first(torch.zeros(2, 6))).shape[1]
    function = Lambda(lambda _, x: middle(x)) if not isinstance(middle, nn.Module) else middle
    return nn.Sequential(first, function, nn.Linear(width, 3))


class Reused(nn.Module):
    """One ReLU module, and one weight, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.first, self.shared, self.last = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.first(x))
        x = self.act(self.shared(x))
        x = self.act(self.shared(x))
        result: torch.Tensor = self.last(x)
        return result


class Residual(nn.Module):
    """Pre-norm blocks added in place."""

    def __init__(self, norm: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 12), nn.Linear(12, 3)
        self.blocks = nn.ModuleList(
            nn.Sequential(norm(), nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12)) for _ in range(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        result: torch.Tensor = self.last(x)
        return result


class DenselyConnected(nn.Module):
    """Each layer receives the outputs of all earlier layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6 + 4 * i, 4) for i in range(3))
        self.last = nn.Linear(18, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.cat([x, F.elu(layer(x))], 1)
        result: torch.Tensor = self.last(x)
        return result


class Mixture(nn.Module):
    """Experts weighted by a softmax gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(6, 4)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.gate(x).softmax(-1)
        answers = torch.stack([expert(x) for expert in self.experts], 1)
        result: torch.Tensor = (weight.unsqueeze(-1) * answers).sum(1)
        return result


class Gated(nn.Module):
    """sigmoid × tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(6, 16), nn.Linear(6, 16), nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.last(torch.sigmoid(self.a(x)) * torch.tanh(self.b(x)))
        return result


class Tied(nn.Module):
    """An autoencoder whose decoder is its transposed encoder; the outputs are sliced and concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        back = torch.tanh(x @ self.weight + self.bias) @ self.weight.T
        return torch.cat([back[:, :2], back[:, 3:4] * back[:, 4:5], (back - x).pow(2).mean(-1, keepdim=True)], 1)


class TwoInputs(nn.Module):
    """Numbers and categories."""

    def __init__(self) -> None:
        super().__init__()
        self.colour, self.size = nn.Embedding(5, 4), nn.Embedding(3, 2, padding_idx=0)
        self.body = nn.Sequential(nn.Linear(4 + 4 + 2, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, x: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([x, self.colour(kinds[:, 0]), self.size(kinds[:, 1])], 1)
        result: torch.Tensor = self.body(joined)
        return result


class OneHot(nn.Module):
    """A category that the network encodes one-hot."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4 + 5, 12), nn.Tanh(), nn.Linear(12, 2))

    def forward(self, x: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.body(torch.cat([x, F.one_hot(kind, 5).to(x.dtype)], 1))
        return result


def mlp(*widths: int, activation: Callable[[], nn.Module] = nn.ReLU, last: nn.Module | None = None) -> nn.Module:
    """Linear layers with activations between them, and an optional last layer."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1], *([last] if last is not None else []))


def _label(module: nn.Module) -> str:
    return re.sub(r"\W+", "_", repr(module)).strip("_").lower()


def _around(middle: Any) -> Callable[[], nn.Module]:
    return lambda: around(middle)


CASES = [
    *(Case(f"activation_{_label(a)}", _around(a), features(6)) for a in ACTIVATIONS),
    *(Case(f"function_{name}", _around(f), features(6)) for name, f in FUNCTIONS.items()),
    Case("mlp_relu", lambda: mlp(8, 32, 32, 2), features(8)),
    Case("mlp_relu_wide", lambda: mlp(30, 64, 64, 2), features(30)),
    Case("mlp_single_output", lambda: nn.Sequential(mlp(6, 16, 1), nn.Flatten(0)), features(6)),
    Case("mlp_softmax", lambda: mlp(8, 32, 32, 4, last=nn.Softmax(-1)), features(8), kind="probabilities"),
    Case("mlp_log_softmax", lambda: mlp(8, 32, 4, last=nn.LogSoftmax(1)), features(8)),
    Case("mlp_sigmoid_head", lambda: mlp(6, 16, 1, last=nn.Sigmoid()), features(6), kind="probabilities"),
    Case(
        "mlp_norms",
        lambda: nn.Sequential(
            nn.Linear(6, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 16), nn.RMSNorm(16), nn.SiLU(),
            nn.Linear(16, 16), nn.GroupNorm(4, 16), nn.ReLU(), nn.Linear(16, 3), nn.Softmax(-1),
        ),
        features(6),
        kind="probabilities",
    ),
    Case("batch_norm", lambda: seasoned(mlp_with_batch_norm()), features(6)),
    Case("reused_relu", Reused, features(6)),
    Case("residual_layer_norm", lambda: Residual(lambda: nn.LayerNorm(12)), features(6)),
    Case("residual_rms_norm", lambda: Residual(lambda: nn.RMSNorm(12)), features(6)),
    Case("densely_connected", DenselyConnected, features(6)),
    Case("mixture_of_experts", Mixture, features(6)),
    Case("gate", Gated, features(6)),
    Case("tied", Tied, features(6)),
    Case("bilinear", lambda: Lambda(lambda m, x: m.b(x[:, :3], x[:, 3:]), b=nn.Bilinear(3, 3, 2)), features(6)),
    Case("two_inputs", TwoInputs, {"x": Spec((4,)), "kinds": Spec((2,), high=3)}),
    Case("one_hot", OneHot, {"x": Spec((4,)), "kind": Spec((), high=5)}),
]  # fmt: skip


def mlp_with_batch_norm() -> nn.Module:
    """Batch norm before and after an activation."""
    return nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8), nn.Sigmoid(), nn.BatchNorm1d(8),
        nn.Dropout(), nn.Linear(8, 2),
    )  # fmt: skip


def seasoned(module: nn.Module) -> nn.Module:
    """Set the statistics of batch norms as after training."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return module
