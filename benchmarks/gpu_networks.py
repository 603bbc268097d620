"""The networks of benchmarks/gpu.py, with random weights and in the sizes of the published ones, and their pictures."""

import torch
import torch.nn.functional as F
from torch import nn

VOCABULARY = 30_522


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))


class Block(nn.Module):
    """A bottleneck with a shortcut (He et al. 2016): 1×1, 3×3 and 1×1 convolutions."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        sizes = ((channels, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1))
        self.steps = nn.ModuleList(_step(*size) for size in sizes)
        changes = stride > 1 or channels != 4 * width
        self.shortcut = _step(channels, 4 * width, 1, stride) if changes else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = x
        for step in self.steps[:-1]:
            out = F.relu(step(out))
        return F.relu(self.steps[-1](out) + self.shortcut(x))


def _step(channels: int, width: int, size: int, stride: int) -> nn.Module:
    convolution = nn.Conv2d(channels, width, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width))


class ResNet(nn.Module):
    """width 64 and blocks (3, 4, 6, 3): the layers of ResNet-50, 25.6 million weights."""

    def __init__(self, width: int, blocks: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = [_step(3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        channels = width
        for stage, count in enumerate(blocks):
            for number in range(count):
                layers.append(Block(channels, width << stage, 2 if stage and not number else 1))
                channels = 4 * (width << stage)
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(channels, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.layers(x).mean((2, 3)))
        return out


class Encoder(nn.Module):
    """hidden 768 and 12 layers: the layers of BERT-base, 109 million weights. Token ids in, two logits out."""

    def __init__(self, hidden: int, layers: int, longest: int = 512) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, hidden), nn.Embedding(longest, hidden)
        self.norm = nn.LayerNorm(hidden)
        layer = nn.TransformerEncoderLayer(hidden, hidden // 64 or 1, 4 * hidden, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(hidden, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = self.places.weight[: x.shape[1]]
        out: torch.Tensor = self.head(self.encoder(self.norm(self.tokens(x) + places))[:, 0])
        return out


def picture(side: int) -> torch.Tensor:
    """(3, side, side) in [0, 1]: smooth random colours."""
    return torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), (side, side), mode="bicubic")[0].clamp(0, 1)


def superpixels(image: torch.Tensor, count: int) -> tuple[torch.Tensor, str]:
    """The player of each pixel, (side, side), and the word for it. Without scikit-image: the cells of a grid."""
    side = image.shape[-1]
    try:
        from skimage.segmentation import slic
    except ImportError:
        cells = int(count**0.5)
        place = torch.arange(side) * cells // side
        return place[:, None] * cells + place, "patches"
    found = slic(image.permute(1, 2, 0).numpy(), count, compactness=30, start_label=0)
    return torch.from_numpy(found).unique(return_inverse=True)[1], "superpixels"
