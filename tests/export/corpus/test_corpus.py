"""Each network of the corpus is packaged in one call, served, explained and compared with the original.

WHYSERVE_CORPUS=quarter takes a fixed quarter, with a network of each kind.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conftest import ROOT, start_service
from tests.export.corpus.registry import CASES, Case, refused_networks, taken_networks
from tests.export.corpus.run import load_networks

pytestmark = [pytest.mark.corpus, pytest.mark.timeout(5400)]
load_networks()
QUARTER = os.environ.get("WHYSERVE_CORPUS") == "quarter"
TAKEN, REFUSED = list(taken_networks(QUARTER)), list(refused_networks(QUARTER))
# Of the output's scale.
LARGEST_RESIDUAL = 1e-3
PROCESSES = 2


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the process of each network wrote, by name; and the folder of all models and artifacts."""
    folder = tmp_path_factory.mktemp("corpus")
    with ThreadPoolExecutor(PROCESSES) as packaging:
        results = list(packaging.map(lambda case: packaged(case, folder), [*TAKEN, *REFUSED]))
    return {**dict(zip([case.name for case in [*TAKEN, *REFUSED]], results, strict=True)), "folder": folder}


def packaged(case: Case, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.export.corpus.run", case.name, str(folder)],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": case.keras, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"failed": done.stderr[-3000:]}
    written: dict[str, Any] = json.loads((folder / f"{case.name}.json").read_text())
    return written


@pytest.fixture(scope="module")
def client(found, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One service with every network."""
    models = found["folder"] / "models"
    service = start_service(found["folder"] / "artifacts", tmp_path_factory.mktemp("state"), models=models)
    try:
        service.await_line(r"ready on ", timeout_s=600)
        with service.client() as client:
            yield client
    finally:
        service.stop()


@pytest.mark.parametrize("name", [case.name for case in TAKEN])
def test_a_network_is_served_and_explained_as_it_is(name, found, client):
    written = found[name]
    assert "wanted" in written, written.get("failed") or written.get("refused")
    scores = scores_of(client.post("/predict", json={"model": name, "instances": written["rows"]}))
    wanted = probabilities_of(np.array(written["wanted"]), scores)
    scale = max(np.abs(wanted).max(), 1e-3)
    assert np.abs(scores - wanted).max() <= CASES[name].gap * scale
    answer = client.post("/explain", json={"model": name, "instances": written["rows"][:2], "outputs": "all"})
    assert answer.status_code == 200, answer.text
    for explanation in answer.json()["explanations"]:
        for output in explanation["outputs"]:
            assert abs(output["residual"]) <= LARGEST_RESIDUAL * max(1, abs(output["value"]), abs(output["base_value"]))


def scores_of(answer: httpx.Response) -> np.ndarray:
    """(rows, outputs): what /predict says of each output."""
    assert answer.status_code == 200, answer.text
    rows = []
    for prediction in answer.json()["predictions"]:
        several = prediction.get("scores") or prediction.get("values") or {"value": prediction.get("value")}
        rows.append(list(several.values()))
    return np.array(rows)


def probabilities_of(wanted: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The original's outputs in the form of the answer: two labels that share one column get one score each."""
    wanted = wanted.reshape(len(wanted), -1)
    return np.hstack([1 - wanted, wanted]) if wanted.shape[1] == 1 and scores.shape[1] == 2 else wanted


@pytest.mark.parametrize("name", [case.name for case in REFUSED])
def test_a_refusal_says_what_to_do(name, found):
    message = found[name].get("refused") or found[name].get("failed") or "the network was taken"
    assert re.search(CASES[name].refused, message), message
    assert "\n" not in message, message


def test_the_quarter_has_every_kind():
    quarter = {case.kind for case in CASES.values() if case.ci}
    assert {case.kind for case in taken_networks()} <= quarter
    assert len(list(taken_networks())) >= 60


def test_the_page_lists_every_network():
    page = (ROOT / "docs/networks.md").read_text()
    assert page.split("<!-- corpus -->")[1].strip() == table().strip()


def table() -> str:
    """The table of docs/networks.md: `python -m tests.export.corpus.test_corpus` prints it."""
    lines = ["| kind | of | network | how it is taken, or the way out |", "| --- | --- | --- | --- |"]
    for case in sorted(CASES.values(), key=lambda case: (bool(case.refused), case.kind, case.name)):
        how = f"refused: {case.way_out}" if case.refused else case.taken
        of = "ONNX" if "onnx" in case.kind else "Keras" if case.keras == "tensorflow" else "torch"
        lines.append(f"| {case.kind} | {of} | {case.name.removeprefix('keras_').replace('_', ' ')} | {how} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
