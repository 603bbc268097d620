"""Unusual networks from practice, with operations that are difficult to trace."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from tests.explain.zoo.case import Case, Lambda, Spec, by_axis, features

STEPS, WIDTH = 6, 4


class LinearAttention(nn.Module):
    """Attention without a softmax: products of three matrices, whose fastest order depends on the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(WIDTH, 12), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        kept = torch.einsum("bsd,bse->bde", k, v)
        scale = 1 / (torch.einsum("bsd,bd->bs", q, k.sum(1)) + 1e-6)
        result: torch.Tensor = self.head(torch.einsum("bsd,bde,bs->bse", q, kept, scale).mean(1))
        return result


class Rotary(nn.Module):
    """Causal attention with rotary positions."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(WIDTH, 24), nn.Linear(8, 2)
        angle = torch.arange(STEPS)[:, None] / 100 ** (torch.arange(0, 4, 2) / 4)
        self.register_buffer("cos", torch.cat([angle, angle], -1).cos())
        self.register_buffer("sin", torch.cat([angle, angle], -1).sin())

    def turned(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, -1)
        return x * self.cos + torch.cat([-b, a], -1) * self.sin  # type: ignore[operator]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (z.view(x.size(0), STEPS, 2, 4).transpose(1, 2) for z in self.qkv(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(self.turned(q), self.turned(k), v, is_causal=True)
        result: torch.Tensor = self.head(y.transpose(1, 2).reshape(x.size(0), STEPS, 8)[:, -1])
        return result


class StateSpace(nn.Module):
    """A selective scan, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.into, self.head = nn.Linear(WIDTH, 8), nn.Linear(WIDTH, 8), nn.Linear(8, 2)
        self.decay = nn.Parameter(-torch.rand(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = x.new_zeros(x.size(0), 8)
        step, into = F.softplus(self.step(x)), self.into(x)
        for t in range(STEPS):
            state = torch.exp(step[:, t] * self.decay) * state + step[:, t] * into[:, t]
        result: torch.Tensor = self.head(state)
        return result


class RandomField(nn.Module):
    """The forward pass of a linear-chain conditional random field."""

    def __init__(self) -> None:
        super().__init__()
        self.emit, self.move = nn.Linear(WIDTH, 3), nn.Parameter(torch.randn(3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        emitted = self.emit(x)
        score: torch.Tensor = emitted[:, 0]
        for t in range(1, STEPS):
            score = torch.logsumexp(score.unsqueeze(2) + self.move, 1) + emitted[:, t]
        return score.softmax(-1)


class GraphAttention(nn.Module):
    """Attention over the edges of a fixed graph."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.left, self.right, self.head = (nn.Linear(*w) for w in ((WIDTH, 8), (8, 1), (8, 1), (8, 2)))
        self.register_buffer("edges", (torch.rand(STEPS, STEPS) > 0.4) | torch.eye(STEPS).bool())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.edges, torch.Tensor)
        h = self.into(x)
        edge = F.leaky_relu(self.left(h) + self.right(h).transpose(1, 2), 0.2).masked_fill(~self.edges, -1e9)
        result: torch.Tensor = self.head(F.elu(edge.softmax(-1) @ h).mean(1))
        return result


class Factorised(nn.Module):
    """A factorisation machine on categories."""

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.single = nn.Embedding(20, 4), nn.Embedding(20, 1)
        self.register_buffer("offset", torch.arange(5) * 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.offset  # type: ignore[operator]
        v = self.pair(x)
        result: torch.Tensor = self.single(x).sum(1) + 0.5 * (v.sum(1) ** 2 - (v**2).sum(1)).sum(1, keepdim=True)
        return result


class Cross(nn.Module):
    """Layers of x₀ ⊙ (W x) + x."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(nn.Linear(6, 6) for _ in range(2)), nn.Linear(6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = x
        for layer in self.layers:
            z = x * layer(z) + z
        result: torch.Tensor = torch.sigmoid(self.head(z)).squeeze(-1)
        return result


class RungeKutta(nn.Module):
    """A neural differential equation with four Runge-Kutta steps of order four."""

    def __init__(self) -> None:
        super().__init__()
        self.field, self.head = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6)), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = 0.25
        for _ in range(4):
            a = self.field(x)
            b = self.field(x + h / 2 * a)
            c = self.field(x + h / 2 * b)
            x = x + h / 6 * (a + 2 * b + 2 * c + self.field(x + h * c))
        result: torch.Tensor = self.head(x)
        return result


class Windows(nn.Module):
    """Attention within shifted windows of an image; the windows are merged with the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.qkv, self.head = nn.Linear(1, 8), nn.Linear(8, 24), nn.Linear(8, 2)
        self.bias = nn.Parameter(0.1 * torch.randn(9, 9))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.roll(self.into(x.permute(0, 2, 3, 1)), (-1, -1), (1, 2))
        y = y.view(x.size(0), 2, 3, 2, 3, 8).permute(0, 1, 3, 2, 4, 5).reshape(-1, 9, 8)
        q, k, v = self.qkv(y).chunk(3, -1)
        y = (q @ k.transpose(1, 2) / math.sqrt(8) + self.bias).softmax(-1) @ v
        result: torch.Tensor = self.head(y.reshape(x.size(0), -1, 8).mean(1))
        return result


class Binned(nn.Module):
    """Numbers converted to categories, then embedded."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bounds", torch.linspace(-2, 2, 6))
        self.embed, self.head = nn.Embedding(7, 3), nn.Linear(18, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.bounds, torch.Tensor)
        result: torch.Tensor = self.head(self.embed(torch.bucketize(x, self.bounds.to(x.dtype))).flatten(1))
        return result


class Radial(nn.Module):
    """Distances to centres, of two kinds, and a wakeup of each."""

    def __init__(self) -> None:
        super().__init__()
        self.centres, self.head = nn.Parameter(torch.randn(7, 6)), nn.Linear(14, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        far = torch.cdist(x, self.centres, compute_mode="donot_use_mm_for_euclid_dist")
        result: torch.Tensor = self.head(torch.exp(-torch.cat([far, torch.cdist(x, self.centres, p=1)], -1) / 4))
        return result


def parametrised() -> nn.Module:
    """Weights that are computed in every call."""
    make = nn.utils.parametrizations
    return nn.Sequential(
        make.weight_norm(nn.Linear(6, 8)), nn.Tanh(), make.spectral_norm(nn.Linear(8, 8)), nn.Softsign(),
        make.orthogonal(nn.Linear(8, 2)),
    )  # fmt: skip


def _distribution(m: Lambda, x: torch.Tensor) -> torch.Tensor:
    a = F.softplus(m.get_submodule("body")(x)) + 1
    logs = torch.lgamma(a).sum(-1, keepdim=True)
    return torch.cat([a / a.sum(-1, keepdim=True), logs, torch.digamma(a), torch.log(torch.cosh(a))], -1)


def _steps(name: str, build: Callable[[], nn.Module]) -> Case:
    return Case(name, build, features(STEPS, WIDTH), by_axis((STEPS, WIDTH)))


CASES = [
    _steps("linear_attention", LinearAttention),
    _steps("rotary_attention", Rotary),
    _steps("state_space", StateSpace),
    _steps("random_field", RandomField),
    _steps("graph_attention", GraphAttention),
    _steps("decoder", lambda: Lambda(
        lambda m, x: m.head(m.decoder(m.into(x[:, 3:]), m.into(x[:, :3])).mean(1)), into=nn.Linear(WIDTH, 8),
        decoder=nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), head=nn.Linear(8, 2))),
    Case("factorisation_machine", Factorised, {"x": Spec((5,), high=4)}),
    Case("cross_layers", Cross, features(6)),
    Case("differential_equation", RungeKutta, features(6)),
    Case("window_attention", Windows, features(1, 6, 6), by_axis((1, 6, 6), 1)),
    Case("radial", Radial, features(6)),
    Case("binned", Binned, features(6)),
    Case("parametrised", parametrised, features(6)),
    Case("distribution", lambda: Lambda(_distribution, body=nn.Linear(6, 3)), features(6)),
    Case("piecewise", lambda: nn.Sequential(
        nn.Linear(6, 8), Lambda(lambda _, y: torch.where(y < -0.5, -0.1 * y, torch.where(y > 0.5, y * y, y.sin()))),
        nn.Linear(8, 2)), features(6)),
]  # fmt: skip
