"""Recorded decisions are explained again after reloads of other builds and after a restart."""

import random

import numpy as np
import pytest

from tests.conftest import Running, start_service
from tests.export.folders import torch_folder
from whyserve.export.build import export_all

DECISIONS, RELOADS = 1000, 5


def change(folder, scale: int) -> None:
    """Another network with the same weights: another build."""
    body = "return self.layer(x)" + (f" * {scale}" if scale > 1 else "")
    lines = (folder / "network.py").read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if "return self.layer" in line)
    lines[place] = " " * 8 + body
    (folder / "network.py").write_text("\n".join(lines))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_recorded_decisions_are_explained_again(tmp_path):
    models, artifacts, place = tmp_path / "models", tmp_path / "artifacts", f"sqlite:///{tmp_path}/record.sqlite3"
    folder, pick = torch_folder(models, "small"), random.Random(0)

    def start(number: int) -> Running:
        settings = {"WHYSERVE_RECORD": place, "WHYSERVE_RECORD_SYNC": "true", "CUDA_VISIBLE_DEVICES": ""}
        running = start_service(artifacts, tmp_path / f"q{number}", models=models, **settings)
        running.await_line("ready on ")
        return running

    first = {}
    export_all(models, artifacts, 20, lambda _: None)
    running = start(0)
    try:
        with running.client() as client:
            for reload in range(1, RELOADS + 1):
                for _ in range(DECISIONS // RELOADS):
                    row = {"a": pick.gauss(0, 1), "b": pick.gauss(0, 1)}
                    body = {"model": "small", "instances": [row], "seed": pick.randrange(100)}
                    answer = client.post("/explain", json=body).raise_for_status()
                    first[answer.headers["x-prediction-id"]] = answer.json()
                change(folder, reload + 1)
                export_all(models, artifacts, 20, lambda _: None, record=place)
                client.post("/v2/repository/models/small/load").raise_for_status()
    finally:
        assert running.stop() == 0, running.output
    assert len({each["manifest"] for each in first.values()}) == RELOADS
    running, worst = start(1), []
    try:
        with running.client() as client:
            for made, answer in first.items():
                again = client.post("/explain", json={"prediction": made}).raise_for_status().json()
                assert again["replay"]["may_differ"] == []
                assert again["manifest"] == answer["manifest"]
                for old, new in zip(answer["explanations"], again["explanations"], strict=True):
                    assert new["prediction"] == old["prediction"]
                    for was, now in zip(old["outputs"], new["outputs"], strict=True):
                        scale = max(abs(was["value"]), 1e-9)
                        gaps = [now["attributions"][name] - each for name, each in was["attributions"].items()]
                        worst.append(np.abs(gaps).max() / scale)
    finally:
        assert running.stop() == 0, running.output
    # All were computed alone. Together with other requests: tests/explain/worker/test_together.py
    assert max(worst) <= 1e-6
    assert np.quantile(worst, 0.95) <= 1e-9
