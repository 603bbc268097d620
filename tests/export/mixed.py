"""A model folder with inputs of several kinds (numbers, categories, an image) and two labels on one sigmoid."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.seeds import seed_keras

SPEC = """
name = "mixed"
framework = "{framework}"
task = "classification"
[[inputs]]
name = "x"
features = [{{ name = "mass", unit = "g" }}, {{ name = "length" }}]
[[inputs]]
name = "c"
dtype = "int64"
features = [{{ name = "island", categories = ["Biscoe", "Dream", "Torgersen"] }}]
[[inputs]]
name = "image"
kind = "image"
shape = [2, 2, 1]
[output]
labels = ["no", "yes"]
scores = "probabilities"
"""
NETWORK = """
import torch
from torch import nn

class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.island = nn.Embedding(3, 2)
        self.layer = nn.Linear(8, 4)
        self.exit = nn.Linear(4, 1)
    def forward(self, x, c, image):
        joined = torch.cat([x, self.island(c[:, 0]), image.flatten(1)], 1)
        return torch.sigmoid(self.exit(torch.tanh(self.layer(joined)))).squeeze(1)

def build():
    return Mixed()
"""
INSTANCE = {"mass": 0.5, "length": -1, "island": "Dream", "image": [[[0.1], [0.9]], [[0.4], [0.2]]]}


def mixed_folder(root: Path, framework: str) -> Path:
    folder = root / "mixed"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(SPEC.format(framework=framework))
    (folder / "example.json").write_text(json.dumps({"model": "mixed", "instances": [INSTANCE]}))
    rng = np.random.default_rng(0)
    np.savez(
        folder / "background.npz",
        x=rng.normal(size=(20, 2)).astype(np.float32),
        c=rng.integers(0, 3, size=(20, 1)),
        image=rng.random((20, 2, 2, 1)).astype(np.float32),
    )
    (_torch if framework == "torch" else _keras)(folder)
    return folder


def _torch(folder: Path) -> None:
    (folder / "network.py").write_text(NETWORK)
    scope: dict[str, object] = {}
    exec(NETWORK, scope)
    torch.manual_seed(0)
    build = scope["build"]
    assert callable(build)
    save_file(build().state_dict(), folder / "weights.safetensors")


def _keras(folder: Path) -> None:
    import keras

    seed_keras(0)
    x, c = keras.Input((2,), name="x"), keras.Input((1,), name="c", dtype="int64")
    image = keras.Input((2, 2, 1), name="image")
    island = keras.layers.Flatten()(keras.layers.Embedding(3, 2)(c))
    seen = keras.layers.Flatten()(keras.layers.Conv2D(2, 2, activation="relu")(image))
    hidden = keras.layers.Dense(4, activation="gelu")(keras.layers.Concatenate()([x, island, seen]))
    # In another order than in model.toml: the export matches inputs by name.
    keras.Model([image, x, c], keras.layers.Dense(1, activation="sigmoid")(hidden)).save(folder / "model.keras")
