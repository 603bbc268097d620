"""The OpenAPI document as the command line prints it, for client generators."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="session")
def document(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    with path.open("wb") as out:
        subprocess.run(
            [sys.executable, "-m", "whyserve.cli", "openapi", "--artifacts", str(artifacts)],
            cwd=ROOT,
            stdout=out,
            check=True,
        )
    return path


def checked(*command: str | Path, cwd: Path, **environment: str) -> str:
    """A tool's output. If the tool fails, the test fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
