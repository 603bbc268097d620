"""The figures of docs/players.md: `python -m benchmarks.players ARTIFACTS`. It takes some minutes of one core.

A distance is mean |φ − reference| / mean |φ of the reference|. The reference is exact for at most 12 players; otherwise
it is permutation with eight times as many samples, at most 32, and another seed. Times are of the processor.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import torch
from torch import nn

from whyserve.explain.game.base import Inputs, Limits
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.models.explainable import load_model
from whyserve.explain.models.row_games import prepared
from whyserve.model.players import Partition
from whyserve.model.spec import ModelSpec

MODELS = Path(__file__).parent.parent / "models"
ROWS = 2


def figures(
    spec: ModelSpec, network: Network, background: Inputs, rows: Inputs, *, players: dict[str, Any], samples: int
) -> str:
    """One line: players, distance, network rows and seconds of permutation."""
    partition = Partition(spec, players)
    with torch.no_grad():
        outputs = network(rows).argmax(1, keepdim=True)
    method = prepared("permutation", network, background, spec, partition)
    method.explain({name: x[:1] for name, x in rows.items()}, outputs[:1], Limits(samples=1))  # fills the caches
    began = time.process_time()
    answer = method.explain(rows, outputs, Limits(samples=samples))
    seconds = (time.process_time() - began) / row_count(rows)
    few = not partition.follows_rows and partition.fixed.count <= 12
    truth = (
        prepared("exact", network, background, spec, partition).explain(rows, outputs, Limits())
        if few
        else method.explain(rows, outputs, Limits(samples=min(32, 8 * samples), seed=4242))
    )
    distance = float((answer.values - truth.values).abs().mean() / truth.values.abs().mean())
    rows_each, against = answer.rows_evaluated // row_count(rows), "exact values" if few else "the reference"
    return f"{distance:.3f} from {against}, {rows_each:,} network rows, {1e3 * seconds:,.0f} ms"


class Last(nn.Module):
    """An LSTM and a layer on its last state."""

    def __init__(self, channels: int, hidden: int = 16) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(channels, hidden, batch_first=True), nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.lstm(x)[0].mean(1))
        return out


def series(steps: int, channels: int, background: int) -> tuple[ModelSpec, Network, Inputs, Inputs]:
    """An untrained LSTM on random walks."""
    torch.manual_seed(0)
    inputs = [{"name": "x", "kind": "sequence", "dtype": "float32", "shape": [steps, channels]}]
    spec = ModelSpec.model_validate(
        {"name": "lstm", "framework": "torch", "task": "regression", "inputs": inputs,
         "output": {"names": ["y"], "scores": "values"}}
    )  # fmt: skip
    walks = torch.randn(background + ROWS, steps, channels).cumsum(1) / np.sqrt(steps)
    network = Network(Last(channels).eval().requires_grad_(False), ("x",))
    return spec, network, {"x": walks[ROWS:]}, {"x": walks[:ROWS]}


def main(artifacts: Path) -> None:
    torch.set_num_threads(1)
    for name, input_name, asked in (
        ("digits", "image", [({"patches": [3, 3]}, 6), ({"patches": [2, 4]}, 6), ({"patches": [4, 4]}, 3)]),
        ("sunspots", "past", [({"windows": 10}, 3)]),
    ):
        model = load_model(MODELS, artifacts / name, 1 << 28)
        rows = {key: x[:: max(1, len(x) // ROWS)][:ROWS] for key, x in model.background.items()}
        for players, samples in asked:
            line = figures(
                model.spec, model.network, model.background, rows, players={input_name: players}, samples=samples
            )
            print(f"{name}, {players}, {samples} samples: {line}", flush=True)
    line = figures(*series(200, 6, 20), players={"x": {"windows": 10}}, samples=1)
    print(f"LSTM, 200 steps × 6 channels, 20 background rows, 10 windows, 1 sample: {line}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
