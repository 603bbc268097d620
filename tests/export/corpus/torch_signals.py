"""torch networks on pictures, series and graphs."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tests.export.corpus.registry import inputs_as_rows, network
from tests.export.corpus.torch_tables import LABELS, answers

RNG = np.random.default_rng(1)
IMAGES = RNG.random((20, 3, 8, 8)).astype(np.float32)
SERIES = RNG.normal(size=(20, 16, 3)).astype(np.float32)


def on_images(package, model, **arguments):
    package(model, background=IMAGES, **{"labels": LABELS, **arguments})
    return inputs_as_rows(**{input_name(model): IMAGES[:4]}), answers(model, IMAGES[:4])


def on_series(package, model, **arguments):
    package(model, background=SERIES, **{"labels": LABELS, **arguments})
    return inputs_as_rows(**{input_name(model): SERIES[:4]}), answers(model, SERIES[:4])


def input_name(model):
    return "input" if isinstance(model, nn.Sequential) else "x"


@network("picture", "as it is: (channels, height, width)", ci=True)
def cnn_with_batchnorm(package):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)]
    return on_images(package, nn.Sequential(*layers, nn.Flatten(), nn.Linear(54, 2)))


@network("picture", "as it is: residual blocks and global pooling")
def small_resnet(package):
    class Block(nn.Module):
        def __init__(self, inside, outside, stride):
            super().__init__()
            self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
            self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
            self.norms = nn.ModuleList([nn.BatchNorm2d(outside), nn.BatchNorm2d(outside)])
            self.short = nn.Conv2d(inside, outside, 1, stride)

        def forward(self, x):
            y = F.relu(self.norms[0](self.first(x)))
            return F.relu(self.norms[1](self.second(y)) + self.short(x))

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.Sequential(Block(3, 6, 1), Block(6, 8, 2))
            self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 2)

        def forward(self, x):
            return self.fc(torch.flatten(self.pool(self.blocks(x)), 1))

    torch.manual_seed(1)
    return on_images(package, ResNet())


@network("picture", "as it is: depthwise convolutions, squeeze and excitation")
def mobilenet_block(package):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.widen, self.depth = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            x = F.hardswish(self.depth(F.relu6(self.widen(x))))
            gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
            return self.head((x * gate).mean((2, 3)))

    torch.manual_seed(2)
    return on_images(package, Net())


@network("picture", "as it is: patches, attention and a class token")
def small_vision_transformer(package):
    class Vit(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.cls = nn.Conv2d(3, 16, 4, 4), nn.Parameter(torch.zeros(1, 1, 16))
            self.places = nn.Parameter(torch.randn(1, 5, 16) * 0.02)
            layer = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", batch_first=True)
            self.encoder, self.head = nn.TransformerEncoder(layer, 1), nn.Linear(16, 2)

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.places
            return self.head(self.encoder(x)[:, 0])

    torch.manual_seed(3)
    return on_images(package, Vit())


@network("picture", "as it is: MLP-Mixer")
def mlp_mixer(package):
    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.norms = nn.Conv2d(3, 8, 4, 4), nn.ModuleList([nn.LayerNorm(8), nn.LayerNorm(8)])
            self.tokens = nn.Sequential(nn.Linear(4, 12), nn.GELU(), nn.Linear(12, 4))
            self.channels = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            x = self.patch(x).flatten(2).mT
            x = x + self.tokens(self.norms[0](x).mT).mT
            return self.head((x + self.channels(self.norms[1](x))).mean(1))

    torch.manual_seed(4)
    return on_images(package, Mixer())


@network("maps", 'reduce="mean": a segmentation becomes one value per class', ci=True)
def unet_segmentation(package):
    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.middle = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
            self.up, self.last = nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(8, 2, 1)

        def forward(self, x):
            high = F.relu(self.down(x))
            low = F.relu(self.middle(F.max_pool2d(high, 2)))
            return self.last(torch.cat([self.up(low), high], 1))

    torch.manual_seed(5)
    model = UNet()
    package(model, background=IMAGES, names=["sky", "ground"], reduce="mean")
    return inputs_as_rows(x=IMAGES[:4]), answers(model, IMAGES[:4]).mean((2, 3))


@network("maps", 'reduce="error": the reconstruction error of an autoencoder')
def autoencoder(package):
    class Autoencoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU())
            self.decode = nn.Linear(8, 48)

        def forward(self, x):
            return self.decode(self.encode(x)).reshape(x.shape)

    torch.manual_seed(6)
    model = Autoencoder()
    package(model, background=SERIES, names=["error"], reduce="error")
    return inputs_as_rows(x=SERIES[:4]), ((answers(model, SERIES[:4]) - SERIES[:4]) ** 2).mean((1, 2))[:, None]


@network("maps", "reduce names a step of a forecast")
def forecaster_of_steps(package):
    class Forecaster(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head = nn.GRU(3, 8, batch_first=True), nn.Linear(8, 1)

        def forward(self, x):
            return self.head(self.gru(x)[0])

    torch.manual_seed(7)
    model = Forecaster()
    package(model, background=SERIES, names=["next"], reduce={"step": -1})
    return inputs_as_rows(x=SERIES[:4]), answers(model, SERIES[:4])[:, -1]


@network("series", "as it is: the last state of an LSTM", ci=True)
def lstm_last_step(package):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(3, 8, 2, batch_first=True, dropout=0.2), nn.Linear(8, 2)

        def forward(self, x):
            _, (hidden, _) = self.lstm(x)
            return self.head(hidden[-1])

    torch.manual_seed(8)
    return on_series(package, Net())


@network("series", "as it is: both directions of a GRU with attention pooling")
def bidirectional_gru_attention(package):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(3, 6, batch_first=True, bidirectional=True)
            self.score, self.head = nn.Linear(12, 1), nn.Linear(12, 2)

        def forward(self, x):
            states, _ = self.gru(x)
            return self.head((states * self.score(states).softmax(1)).sum(1))

    torch.manual_seed(9)
    return on_series(package, Net())


@network("series", "as it is: dilated causal convolutions")
def temporal_convolutions(package):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Conv1d(3 if i == 0 else 6, 6, 2, dilation=2**i) for i in range(3))
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            x = x.transpose(1, 2)
            for number, layer in enumerate(self.layers):
                x = torch.relu(layer(F.pad(x, (2**number, 0))))
            return self.head(x[..., -1])

    torch.manual_seed(10)
    return on_series(package, Net())


@network("series", "as it is: blocks that subtract what they explain (N-BEATS)")
def nbeats(package):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.back, self.fore = nn.Linear(16, 12), nn.Linear(12, 16), nn.Linear(12, 2)

        def forward(self, x):
            inside = torch.relu(self.body(x))
            return self.back(inside), self.fore(inside)

    class Beats(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(Block() for _ in range(3))

        def forward(self, x):
            total = torch.zeros(x.shape[0], 2)
            for block in self.blocks:
                back, fore = block(x)
                x, total = x - back, total + fore
            return total

    torch.manual_seed(11)
    model, rows = Beats(), SERIES[:, :, 0].copy()
    package(model, background=rows, names=["tomorrow", "later"], kinds={"x": "tensor"})
    return inputs_as_rows(x=rows[:4]), answers(model, rows[:4])


@network("graph", "nodes and a matrix of edges are two inputs", ci=True)
def graph_convolution(package):
    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, nodes, edges):
            mixing = edges / edges.sum(-1, keepdim=True).clamp(min=1)
            nodes = torch.relu(mixing @ self.first(nodes))
            return self.head(torch.relu(mixing @ self.second(nodes)).mean(1))

    torch.manual_seed(12)
    model = Graph()
    nodes = RNG.normal(size=(20, 6, 4)).astype(np.float32)
    edges = (RNG.random((20, 6, 6)) < 0.4).astype(np.float32) + np.eye(6, dtype=np.float32)
    package(model, background={"nodes": nodes, "edges": edges}, labels=LABELS, kinds={"edges": "tensor"})
    return inputs_as_rows(nodes=nodes[:4], edges=edges[:4]), answers(model, nodes[:4], edges[:4])


@network("graph", "two inputs of one shape share their weights")
def siamese(package):
    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.tower = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Tanh())

        def forward(self, left, right):
            return F.cosine_similarity(self.tower(left), self.tower(right), dim=1)

    torch.manual_seed(13)
    model, other = Siamese(), SERIES[::-1].copy()
    package(model, background={"left": SERIES, "right": other}, names=["similarity"])
    return inputs_as_rows(left=SERIES[:4], right=other[:4]), answers(model, SERIES[:4], other[:4])
