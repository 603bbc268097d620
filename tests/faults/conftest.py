"""A model that is slow, or ends its process, for certain rows; and services that serve it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Running, start_service
from tests.export.folders import torch_folder
from whyserve.export.build import export_all

# The features decide. Only explanations run this code: predictions run on ONNX Runtime.
BODY = """import os, time
        if type(x) is torch.Tensor and not torch.compiler.is_exporting() and not torch.jit.is_tracing():
            if bool((x[:, 0] == 666).any()):
                os._exit(9)
            if bool((x[:, 0] == 777).any()):
                time.sleep({slow_s})
            if bool((x[:, 1] == 888).any()):
                time.sleep({some_s})
        return self.layer(x)"""
SLOW_S, SOME_S = 3.0, 0.05
FATAL, SLOW, SOMEWHAT = 666.0, 777.0, 888.0


def ask(a: float, b: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"model": "frail", "instances": [{"a": a, "b": b}], **more}


ASYNC = {"Prefer": "respond-async"}


def submit(client: httpx.Client, a: float, b: float = 0.0, **headers: str) -> str:
    """Submit a row without waiting; returns the explanation's id."""
    answer = client.post("/explain", json=ask(a, b), headers={**ASYNC, **headers})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def outcome(client: httpx.Client, job: str) -> dict[str, Any]:
    answer = client.get(f"/explanations/{job}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def metric(client: httpx.Client, name: str, headers: dict[str, str] | None = None) -> float:
    lines = client.get("/metrics", headers=headers).text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(name + " ")))


@pytest.fixture(scope="session")
def frail(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The models folder and the artifacts folder of the model."""
    root = tmp_path_factory.mktemp("frail")
    torch_folder(root / "models", "frail", BODY.format(slow_s=SLOW_S, some_s=SOME_S))
    export_all(root / "models", root / "artifacts", 20, lambda _: None)
    return root / "models", root / "artifacts"


Start = Callable[..., Running]


@pytest.fixture
def start(frail: tuple[Path, Path], tmp_path: Path) -> Iterator[Start]:
    """Starts services of the frail model, and stops them at the end of the test."""
    started: list[Running] = []

    def begin(*flags: str) -> Running:
        models, artifacts = frail
        # A short path, because it holds sockets.
        running = start_service(artifacts, tmp_path / "q", *flags, models=models, CUDA_VISIBLE_DEVICES="")
        started.append(running)
        return running

    yield begin
    for running in started:
        assert running.stop() == 0, running.output
