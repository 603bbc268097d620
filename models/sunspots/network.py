"""The next year's sunspot number, from those of the last twenty years."""

import torch
from torch import nn


class Forecast(nn.Module):
    """Sunspot numbers in, oldest first, and out: the scaling is in buffers of the network."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        self.memory = nn.LSTM(1, hidden, batch_first=True)
        self.exit = nn.Linear(hidden, 1)

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        steps, _ = self.memory(((past - self.mean) / self.spread).unsqueeze(-1))
        return self.exit(steps[:, -1]) * self.spread + self.mean


def build() -> nn.Module:
    return Forecast()
