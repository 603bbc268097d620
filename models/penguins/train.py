"""Make this folder's weights, backgrounds and example: `python models/penguins/train.py [FOLDER]`."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from network import build
from palmerpenguins import load_penguins
from safetensors.torch import save_file
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from torch.nn import functional as F

MEASURED = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
KNOWN = {"island": ["Biscoe", "Dream", "Torgersen"], "sex": ["female", "male"]}
SPECIES = ["Adelie", "Chinstrap", "Gentoo"]


def main(folder: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = load_penguins().dropna()
    x = data[MEASURED].to_numpy(np.float32)
    c = np.stack([[KNOWN[name].index(value) for value in data[name]] for name in KNOWN], axis=1)
    y = np.array([SPECIES.index(value) for value in data["species"]])
    x, x_test, c, c_test, y, y_test = train_test_split(x, c, y, test_size=0.25, random_state=0, stratify=y)

    # Train in float64: the float32 weights then do not depend on the order in which a machine adds numbers.
    network = build().double()
    network.mean.copy_(torch.tensor(x.mean(0)))
    network.spread.copy_(torch.tensor(x.std(0)))
    measured, known, wanted = torch.tensor(x).double(), torch.tensor(c), torch.tensor(y)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-1)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(network.logits(measured, known), wanted, label_smoothing=0.05).backward()
        optimizer.step()

    network.eval().float()
    with torch.no_grad():
        score = accuracy_score(y_test, network(torch.tensor(x_test), torch.tensor(c_test)).argmax(1).numpy())
    save_file(network.state_dict(), folder / "weights.safetensors")
    chosen = np.random.default_rng(0).choice(len(x), 100, replace=False)
    np.savez(folder / "background.npz", measured=x[chosen], known=c[chosen])
    adelie = np.flatnonzero(y == SPECIES.index("Adelie"))[:50]
    np.savez(folder / "adelie.npz", measured=x[adelie], known=c[adelie])
    instance = {name: round(float(value), 1) for name, value in zip(MEASURED, x_test[0], strict=True)}
    instance |= {name: KNOWN[name][code] for name, code in zip(KNOWN, c_test[0], strict=True)}
    example = {"model": "penguins", "instances": [instance]}
    (folder / "example.json").write_text(json.dumps(example, indent=2) + "\n")
    print(f"penguins: accuracy {score:.3f} on {len(x_test)} held-out penguins")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
