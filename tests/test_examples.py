"""The example on photographs: a pretrained network, explained by the regions of a picture."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT
from whyserve.explain.game.base import Limits
from whyserve.explain.models.explainable import load_background
from whyserve.explain.models.loader import load_network
from whyserve.explain.models.row_games import RowGames, prepared
from whyserve.export.sources import read_source
from whyserve.model.missing import Gaps
from whyserve.model.players import Partition

# Smaller than the photographs of the example, which take six times as long.
SIZE = 96


@pytest.mark.slow
def test_photographs_are_explained_by_their_regions(tmp_path):
    folder = tmp_path / "photographs"
    shutil.copytree(ROOT / "examples" / "photographs", folder)
    done = subprocess.run(
        [sys.executable, str(folder / "make.py"), str(folder), str(SIZE)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "flower: daisy, coffee: espresso" in done.stdout
    toml = (folder / "model.toml").read_text()
    assert "[224, 224, 3]" in toml
    (folder / "model.toml").write_text(toml.replace("[224, 224, 3]", f"[{SIZE}, {SIZE}, 3]"))

    source = read_source(folder)
    spec = source.spec
    assert source.examples()["image"].shape == (1, SIZE, SIZE, 3)
    network = load_network(spec, lambda name: (folder / name).read_bytes())
    background = load_background(spec, lambda name: (folder / name).read_bytes(), Gaps(spec, source.fills))
    flower = {"image": background["image"][1:2]}
    label = torch.tensor([[spec.output.labels.index("daisy")]])
    method = prepared("permutation", network, background, spec, Partition(spec))
    assert isinstance(method, RowGames)
    (players,) = method.players_of(flower)
    assert 20 <= players.count <= 60
    answer = method.explain(flower, label, Limits(samples=spec.explain.samples))
    assert answer.residuals.abs().max() <= 1e-6 * answer.predictions.abs().max()
    # The flower is in the middle: its regions speak for a daisy, and more than those of the corners.
    middle = players.numbers["image"][SIZE // 2, SIZE // 2, 0]
    corners = {players.numbers["image"][y, x, 0] for y in (0, -1) for x in (0, -1)}
    assert answer.values[0, 0, middle] > max(float(answer.values[0, 0, corner]) for corner in corners)
