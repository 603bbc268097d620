"""Small model folders to export, with or without a fault."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

NETWORK = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, {outputs})
    def forward(self, x):
        {body}

def build():
    return Small()
"""
SPEC = """
name = "{name}"
framework = "torch"
task = "classification"
[[inputs]]
name = "x"
features = [{{ name = "a" }}, {{ name = "b" }}]
[output]
labels = ["no", "yes"]
scores = "logits"
"""


def torch_folder(root: Path, name: str, body: str = "return self.layer(x)", outputs: int = 2) -> Path:
    """A folder without a fault, unless `body` or `outputs` cause one."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(SPEC.format(name=name))
    (folder / "network.py").write_text(NETWORK.format(body=body, outputs=outputs))
    torch.manual_seed(0)
    layer = nn.Linear(2, outputs)
    save_file({"layer.weight": layer.weight.data, "layer.bias": layer.bias.data}, folder / "weights.safetensors")
    np.savez(folder / "background.npz", x=np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32))
    (folder / "example.json").write_text(json.dumps({"model": name, "instances": [{"a": 1.0, "b": 2.0}]}))
    return folder
