"""EfficientNet-Lite0 (Tan & Le 2019, without squeeze and excitation) on some of the labels of ImageNet."""

import torch
from torch import nn

# Of each stage: expansion, channels, number of blocks, stride, size of the kernel.
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
LABELS = 20


def convolution(given: int, made: int, size: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution padded as in TensorFlow: for a stride of 2, more at the lower and right edge."""
    low = (size - stride) // 2
    high = size - stride - low
    padding = [nn.ZeroPad2d((low, high, low, high))] if high else []
    return [*padding, nn.Conv2d(given, made, size, stride, groups=groups)]


class Block(nn.Module):
    """An inverted residual: wide between its ends, with one filter per channel."""

    def __init__(self, given: int, expansion: int, made: int, stride: int, size: int) -> None:
        super().__init__()
        wide = given * expansion
        widen = [*convolution(given, wide), nn.ReLU6()] if expansion > 1 else []
        filters = [*convolution(wide, wide, size, stride, groups=wide), nn.ReLU6()]
        self.layers = nn.Sequential(*widen, *filters, *convolution(wide, made))
        self.adds = stride == 1 and given == made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.layers(x)
        return x + out if self.adds else out


class Photographs(nn.Module):
    """(rows, height, width, 3), levels from 0 to 255, to logits. The normalisations are in the convolutions."""

    def __init__(self) -> None:
        super().__init__()
        layers, given = [*convolution(3, 32, 3, 2), nn.ReLU6()], 32
        for expansion, made, blocks, stride, size in STAGES:
            for number in range(blocks):
                layers.append(Block(given, expansion, made, stride if number == 0 else 1, size))
                given = made
        self.features = nn.Sequential(*layers, *convolution(given, 1280), nn.ReLU6())
        self.labels = nn.Linear(1280, LABELS)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        levels = (image.permute(0, 3, 1, 2) - 127) / 128
        return self.labels(self.features(levels).mean((2, 3)))


def build() -> nn.Module:
    return Photographs()
