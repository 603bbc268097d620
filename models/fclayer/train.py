"""Make this folder's weights, background and example: `python models/fclayer/train.py [FOLDER]`."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from network import build
from safetensors.torch import save_file
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

FEATURES = ["bmi", "bp"]


def main(folder: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = load_diabetes(as_frame=True, scaled=False)
    x = data.data[FEATURES].to_numpy(np.float32)
    y = data.target.to_numpy(np.float32)[:, None]
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, random_state=0)

    network = build()
    network.mean.copy_(torch.tensor(x.mean(0)))
    network.spread.copy_(torch.tensor(x.std(0)))
    network.target_mean.copy_(torch.tensor(y.mean(0)))
    network.target_spread.copy_(torch.tensor(y.std(0)))
    rows, wanted = torch.tensor(x), torch.tensor(y)
    # Weight decay and few epochs: a network of this size can memorise two features of 331 people.
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = ((network(rows) - wanted) / network.target_spread).square().mean()
        loss.backward()
        optimizer.step()

    network.eval()
    with torch.no_grad():
        score = r2_score(y_test, network(torch.tensor(x_test)).numpy())
    save_file(network.state_dict(), folder / "weights.safetensors")
    chosen = np.random.default_rng(0).choice(len(x), 100, replace=False)
    np.savez(folder / "background.npz", x=x[chosen])
    instance = {name: round(float(value), 2) for name, value in zip(FEATURES, x_test[0], strict=True)}
    example = {"model": "fclayer", "instances": [instance]}
    (folder / "example.json").write_text(json.dumps(example, indent=2) + "\n")
    print(f"fclayer: R2 {score:.3f} on {len(x_test)} held-out people")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
