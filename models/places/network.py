"""The language of a place's name, from the pieces of its words."""

import torch
from torch import nn

PIECES = 1500  # in tokenizer.json; 0 stands where the name is over


class Language(nn.Module):
    """Ids of pieces in, in whatever order, and probabilities out."""

    def __init__(self, languages: int = 6) -> None:
        super().__init__()
        self.embed = nn.Embedding(PIECES, 8, padding_idx=0)
        self.dropout = nn.Dropout(0.4)
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, languages))

    def logits(self, name: torch.Tensor) -> torch.Tensor:
        # A quarter: about so many pieces make a name.
        return self.layers(self.dropout(self.embed(name)).sum(dim=1) / 4)

    def forward(self, name: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.logits(name), dim=-1)


def build() -> nn.Module:
    return Language()
