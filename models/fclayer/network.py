"""Diabetes progression from body mass index and blood pressure."""

import torch
from torch import nn
from torch.nn import functional as F


class FCLayer(nn.Module):
    """Two linear layers with the functional ReLU between them."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(F.relu(self.first(x)))


class Progression(nn.Module):
    """Raw measurements in, points of progression out: both scalings are buffers of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("spread", torch.ones(2))
        self.register_buffer("target_mean", torch.zeros(1))
        self.register_buffer("target_spread", torch.ones(1))
        self.entry = nn.Linear(2, 128)
        self.middle = FCLayer(128, 128, 10)
        self.exit = nn.Linear(10, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scaled = (x - self.mean) / self.spread
        return self.exit(self.middle(self.entry(scaled))) * self.target_spread + self.target_mean


def build() -> nn.Module:
    return Progression()
