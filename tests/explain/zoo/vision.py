"""Convolutions in one, two and three dimensions, pooling, and norms over channels."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.explain.zoo.case import Case, Lambda, by_axis, by_patch, features
from tests.explain.zoo.dense import seasoned


class SqueezeExcite(nn.Module):
    """A small residual network with squeeze-excite and a reused in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 3, padding=1)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm(self.stem(x)))
        y = self.two(self.relu(self.one(x)))
        y = y * torch.sigmoid(self.excite(self.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        y += x
        result: torch.Tensor = self.head(self.relu(y).mean((2, 3)))
        return result


class GatedDilated(nn.Module):
    """WaveNet's gate over dilated causal convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, 6, 1)
        self.filters = nn.ModuleList(nn.Conv1d(6, 6, 2, dilation=2**i) for i in range(3))
        self.gates = nn.ModuleList(nn.Conv1d(6, 6, 2, dilation=2**i) for i in range(3))
        self.last = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for i, (filtered, gate) in enumerate(zip(self.filters, self.gates, strict=True)):
            padded = F.pad(x, (2**i, 0))
            x = x + torch.tanh(filtered(padded)) * torch.sigmoid(gate(padded))
        result: torch.Tensor = self.last(x[:, :, -1])
        return result


class Patches(nn.Module):
    """An MLP-mixer on patches."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv2d(1, 8, 2, stride=2)
        self.norm, self.tokens, self.channels = nn.LayerNorm(8), nn.Linear(9, 9), nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.cut(x).flatten(2).transpose(1, 2)
        x = x + F.gelu(self.tokens(self.norm(x).transpose(1, 2))).transpose(1, 2)
        x = x + F.gelu(self.channels(self.norm(x)))
        result: torch.Tensor = self.head(x.mean(1)).softmax(-1)
        return result


def small_cnn() -> nn.Module:
    """Modules only, each used once: shap can explain it too."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 16),
        nn.ReLU(), nn.Linear(16, 3),
    )  # fmt: skip


def three_norms() -> nn.Module:
    """Group and instance norm, PReLU, a transposed convolution."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.GroupNorm(2, 8), nn.PReLU(), nn.ConvTranspose2d(8, 6, 3, stride=2),
        nn.InstanceNorm2d(6, affine=True), nn.SiLU(), nn.AvgPool2d(2), nn.Flatten(), nn.LazyLinear(3),
    )  # fmt: skip


def image(name: str, build: object, channels: int = 1, size: int = 6, patch: int = 2) -> Case:
    """An image whose square patches are the players."""
    assert callable(build)

    def ready() -> nn.Module:
        module: nn.Module = seasoned(build())
        with torch.no_grad():
            module.eval()(torch.zeros(2, channels, size, size))
        return module

    return Case(name, ready, features(channels, size, size), by_patch(channels, size, size, patch))


def _series(name: str, build: object) -> Case:
    assert callable(build)

    def ready() -> nn.Module:
        module: nn.Module = build()
        with torch.no_grad():
            module(torch.zeros(2, 2, 12))
        return module

    return Case(name, ready, features(2, 12), by_axis((2, 12), 1, 6))


CASES = [
    Case("small_cnn", small_cnn, features(1, 14, 14)),
    image("cnn_max_pool", lambda: nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(24, 3))),
    image("cnn_overlapping_max_pool", lambda: nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.Tanh(), nn.MaxPool2d(3, 2, padding=1), nn.Flatten(), nn.LazyLinear(3))),
    image("cnn_adaptive_max_pool", lambda: nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.LazyLinear(3))),
    image("cnn_adaptive_average_pool", lambda: nn.Sequential(
        nn.Conv2d(1, 6, 3, padding="same"), nn.Hardswish(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.LazyLinear(3))),
    image("cnn_batch_norm_relu6", lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 8, 3, groups=8, padding=1),
        nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))),
    image("cnn_dilated_grouped", lambda: nn.Sequential(
        nn.Conv2d(2, 8, 3, dilation=2, padding=2, groups=2), nn.ELU(), nn.Conv2d(8, 4, 3, padding_mode="reflect",
        padding=1), nn.GELU(), nn.Flatten(), nn.LazyLinear(3)), channels=2),
    image("cnn_three_norms", three_norms),
    image("squeeze_excite", SqueezeExcite, channels=2),
    image("mixer", Patches),
    image("upsample_shuffle", lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.LeakyReLU(), nn.PixelShuffle(2), nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Upsample(scale_factor=2), nn.MaxPool2d(4), nn.Flatten(), nn.LazyLinear(3))),
    image("global_max_pool", lambda: Lambda(lambda m, x: m.b(m.a(x).amax((2, 3))), a=nn.Conv2d(1, 8, 3),
        b=nn.Linear(8, 2))),
    image("local_response_norm", lambda: nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.LocalResponseNorm(3, alpha=0.5), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))),
    image("power_pool", lambda: nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.Softplus(), nn.LPPool2d(2, 2), nn.Flatten(), nn.LazyLinear(2))),
    _series("conv1d_pool", lambda: nn.Sequential(
        nn.Conv1d(2, 6, 3, stride=2), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.LazyLinear(2))),
    _series("conv1d_transposed", lambda: nn.Sequential(
        nn.Conv1d(2, 6, 3), nn.Mish(), nn.ConvTranspose1d(6, 3, 3, stride=2), nn.AdaptiveAvgPool1d(4), nn.Flatten(),
        nn.Linear(12, 2))),
    _series("gated_dilated", GatedDilated),
    Case("conv3d", lambda: nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(4, 4, 2),
        nn.InstanceNorm3d(4, affine=True), nn.Tanh(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)),
        features(1, 6, 6, 6), by_axis((1, 6, 6, 6), 1)),
]  # fmt: skip
