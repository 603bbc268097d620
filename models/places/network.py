"""The language of a place's name, from the pieces of its words."""

import torch
from torch import nn

PIECES = 1500  # word pieces in tokenizer.json; id 0 is the padding


class Language(nn.Module):
    """Ids of word pieces to probabilities. The order of the pieces does not matter."""

    def __init__(self, languages: int = 6) -> None:
        super().__init__()
        self.embed = nn.Embedding(PIECES, 8, padding_idx=0)
        self.dropout = nn.Dropout(0.4)
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, languages))

    def logits(self, name: torch.Tensor) -> torch.Tensor:
        # A name has about four pieces, so a quarter of the sum is near their mean.
        return self.layers(self.dropout(self.embed(name)).sum(dim=1) / 4)

    def forward(self, name: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.logits(name), dim=-1)


def build() -> nn.Module:
    return Language()
