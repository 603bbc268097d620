"""Make this folder's weights, background and example: `python models/breast_cancer/train.py [FOLDER]`."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from network import build
from safetensors.torch import save_file
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from torch.nn import functional as F


def main(folder: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = load_breast_cancer()
    names = [name.replace(" ", "_") for name in data.feature_names]
    x, y = data.data.astype(np.float32), data.target
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)

    network = build()
    network.mean.copy_(torch.tensor(x.mean(0)))
    network.spread.copy_(torch.tensor(x.std(0)))
    rows, wanted = torch.tensor(x), torch.tensor(y)
    # Smoothed labels keep the probabilities away from 0 and 1, where the output hardly changes with the inputs.
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-1)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(network.logits(rows), wanted, label_smoothing=0.05).backward()
        optimizer.step()

    network.eval()
    with torch.no_grad():
        score = accuracy_score(y_test, network(torch.tensor(x_test)).argmax(1).numpy())
    save_file(network.state_dict(), folder / "weights.safetensors")
    chosen = np.random.default_rng(0).choice(len(x), 100, replace=False)
    np.savez(folder / "background.npz", x=x[chosen])
    instance = {name: round(float(value), 5) for name, value in zip(names, x_test[0], strict=True)}
    example = {"model": "breast_cancer", "instances": [instance]}
    (folder / "example.json").write_text(json.dumps(example, indent=2) + "\n")
    print(f"breast_cancer: accuracy {score:.3f} on {len(x_test)} held-out people")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
