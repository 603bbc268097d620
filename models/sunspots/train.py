"""Make this folder's weights, background and example: `python models/sunspots/train.py [FOLDER]`."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from network import build
from safetensors.torch import save_file
from sklearn.metrics import r2_score
from statsmodels.datasets import sunspots

STEPS = 20
LAST_KNOWN = 1929  # later years are held out: the score of a forecast needs years that training did not use


def main(folder: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = sunspots.load_pandas().data
    numbers = data["SUNACTIVITY"].to_numpy(np.float32)
    years = data["YEAR"].to_numpy()[STEPS:]
    windows = np.lib.stride_tricks.sliding_window_view(numbers, STEPS)[:-1]
    targets = numbers[STEPS:, None]
    known = years <= LAST_KNOWN
    x, y, x_test, y_test = windows[known], targets[known], windows[~known], targets[~known]

    # Train in float64: the float32 weights then do not depend on the order in which a machine adds numbers.
    network = build().double()
    network.mean.fill_(float(x.mean()))
    network.spread.fill_(float(x.std()))
    rows, wanted = torch.tensor(x).double(), torch.tensor(y).double()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        ((network(rows) - wanted) / network.spread).square().mean().backward()
        optimizer.step()

    network.eval().float()
    with torch.no_grad():
        score = r2_score(y_test, network(torch.tensor(x_test)).numpy())
    save_file(network.state_dict(), folder / "weights.safetensors")
    chosen = np.random.default_rng(0).choice(len(x), 100, replace=False)
    np.savez(folder / "background.npz", past=x[chosen])
    example = {"model": "sunspots", "instances": [{"past": [round(float(value), 1) for value in x_test[-1]]}]}
    (folder / "example.json").write_text(json.dumps(example, indent=2) + "\n")
    print(f"sunspots: R2 {score:.3f} on {len(x_test)} later years")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
