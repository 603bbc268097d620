"""`make bench-rivals`: permutation against today's approximators, at the same number of network rows.

Two environments take part. This one writes each network as ONNX, its rows and the answers of `permutation` to a folder.
The other one has shapiq and ONNX Runtime, and no torch: benchmarks/rivals_shapiq.py reads the folder and writes the
answers of the rivals. Both modes of a rival are measured: each coalition on the whole background, as shapiq's imputers
do, and one game for each background row, as `permutation` does.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import torch
from torch import nn

from benchmarks.pages import put, table
from tests.conftest import MODELS
from whyserve.explain.game.base import Inputs, Limits
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.permutation.permutation import Permutation, evaluates_all
from whyserve.explain.models.explainable import load_model
from whyserve.explain.models.row_games import game_players
from whyserve.model.players import Partition

SHIPPED = ("breast_cancer", "wine", "penguins", "sunspots")
SAMPLES = {"breast_cancer": (1, 2, 8), "wine": (1, 2, 8), "penguins": (1, 2), "sunspots": (1, 2, 4)}
SAMPLES |= {"100 players": (1, 2), "1,000 players": (1,)}
ROWS, SEEDS = 3, 3
# The reference evaluates this many network rows per explained row, or all coalitions.
REFERENCE_ROWS = 3_000_000
MODES = {"whole": "each coalition on the whole background", "each": "one game for each background row"}


def wide(players: int) -> tuple[Network, Inputs, Inputs, Players]:
    """An MLP that is trained on a curved function of many inputs, its background and three other rows."""
    torch.manual_seed(0)
    x = torch.randn(3000, players)
    hidden = x @ torch.randn(players, 8) / players**0.5 * 2
    y = (
        torch.tanh(hidden[:, 0]) * hidden[:, 1]
        + torch.relu(hidden[:, 2])
        + hidden[:, 3] * torch.sigmoid(3 * hidden[:, 4])
    )
    module = nn.Sequential(nn.Linear(players, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimiser = torch.optim.Adam(module.parameters(), 1e-3)
    for _ in range(1000):
        batch = torch.randint(0, 2800, (128,))
        loss = (module(x[batch])[:, 0] - y[batch]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    background = x[2900:] if players <= 100 else x[2980:]
    return (
        Network(module.eval(), ("x",)),
        {"x": background},
        {"x": x[2850 : 2850 + ROWS]},
        Players.elements({"x": (players,)}),
    )


def shipped(name: str) -> tuple[Network, Inputs, Inputs, Players]:
    model = load_model(MODELS, Path("artifacts") / name, 1 << 28)
    rows = {key: x[:: max(1, len(x) // ROWS)][:ROWS] for key, x in model.background.items()}
    # Every element is a player, also where the model has groups.
    return model.network, model.background, rows, game_players(Partition(model.spec, {}).fixed)


class Joined(nn.Module):
    """A network whose inputs are the columns of one table, (rows, elements) of float32."""

    def __init__(self, network: Network, background: Inputs) -> None:
        super().__init__()
        self.module, self.names = network.module, network.names
        self.like = {name: background[name] for name in network.names}

    def join(self, inputs: Inputs) -> torch.Tensor:
        return torch.cat([inputs[name].flatten(1).float() for name in self.like], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = x.split([like[0].numel() for like in self.like.values()], 1)
        given = [
            part.reshape(-1, *like.shape[1:]).to(like.dtype)
            for part, like in zip(parts, self.like.values(), strict=True)
        ]
        return self.module(*given)


def prepare(name: str, folder: Path, seconds: float) -> None:
    """Write one network, its rows, the reference and our answers at each budget."""
    network, background, rows, players = (
        shipped(name) if name in SHIPPED else wide(int(name.split(maxsplit=1)[0].replace(",", "")))
    )
    method = Permutation(network, background, players, memory_bytes=1 << 28)
    outputs = method.passes.table(rows).argmax(1, keepdim=True)
    step = 2 * (players.count - 1) * method.passes.rows
    many = method.explain(rows, outputs, Limits(samples=max(1, REFERENCE_ROWS // step), seed=4242))
    ours, budgets = {}, []
    for samples in SAMPLES[name]:
        if evaluates_all(players.count, samples * (players.count - 1)):
            continue
        found = [method.explain(rows, outputs, Limits(samples=samples, seed=seed)) for seed in range(SEEDS)]
        budget = round(found[0].rows_evaluated / ROWS / method.passes.rows)
        budgets.append(budget)
        ours[str(budget)] = np.stack([answer.values[:, 0].numpy() for answer in found])
    folder.mkdir()
    joined = Joined(network, background)
    tables = [joined.join(each) for each in (background, rows)]
    torch.onnx.export(
        joined, (tables[0][:2],), str(folder / "network.onnx"), dynamo=False, input_names=["x"],
        dynamic_axes={"x": {0: "rows"}},
    )  # fmt: skip
    order = torch.cat([players.membership[name].flatten() for name in network.names])
    np.savez(
        folder / "given.npz", background=tables[0].numpy(), rows=tables[1].numpy(), players=order.numpy(),
        outputs=outputs[:, 0].numpy(), reference=many.values[:, 0].numpy(), **{f"ours {b}": x for b, x in ours.items()},
    )  # fmt: skip
    (folder / "plan.json").write_text(
        json.dumps({"name": name, "budgets": budgets, "seeds": SEEDS, "seconds": seconds})
    )


def report(folders: list[Path]) -> str:
    """One line per network, budget and mode: median and range of the distances over rows and seeds."""
    lines, names = [], None
    for folder in folders:
        plan, given = json.loads((folder / "plan.json").read_text()), np.load(folder / "given.npz")
        theirs = json.loads((folder / "theirs.json").read_text())
        scale = np.abs(given["reference"]).mean(1)
        for budget in plan["budgets"]:
            ours = (np.abs(given[f"ours {budget}"] - given["reference"]).mean(2) / scale).flatten()
            for mode, title in MODES.items():
                found = theirs[str(budget)][mode]
                names = list(found)
                cells = {"permutation": list(ours), **found}
                medians = {key: float(np.median(each)) if each else np.inf for key, each in cells.items()}
                best = min(medians.values())
                shown = [cell(cells[key], bold=medians[key] == best) for key in cells]
                rows = budget * len(given["background"])
                lines.append([plan["name"], f"{rows:,}", title, *shown])
    return table(["model", "network rows", "rivals evaluate", "permutation", *(names or [])], lines)


def cell(distances: list[float], *, bold: bool) -> str:
    if not distances or not np.isfinite(distances).all():
        return "–"
    middle = f"{np.median(distances):.3g}"
    return f"{f'**{middle}**' if bold else middle} ({min(distances):.2g}–{max(distances):.2g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="Python of the environment with shapiq and ONNX Runtime")
    parser.add_argument("--only", nargs="*", default=list(SAMPLES), help="The networks. Default: all")
    parser.add_argument("--seconds", type=float, default=60, help="For each rival, budget and mode. Default: 60")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folders = []
        for number, name in enumerate(options.only):
            folders.append(Path(place) / str(number))
            prepare(name, folders[-1], options.seconds)
            script = Path(__file__).with_name("rivals_shapiq.py")
            subprocess.run([options.python, "-P", str(script), str(folders[-1])], check=True)
        content = report(folders)
    print(content) if options.only != list(SAMPLES) else put("distances.md", "rivals", content)


if __name__ == "__main__":
    main()
