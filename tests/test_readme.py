"""The README is true: its shell blocks run, in order, and its answers are the service's."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(sh|json)\n(.*?)```", TEXT, re.DOTALL)
CARRIED = ["Makefile", "pyproject.toml", "constraints.txt", "README.md", "app"]


@pytest.fixture
def checkout(tmp_path, artifacts):
    """What a stranger has after the first `make run`: the code, the environment, the exported models."""
    for name in [*CARRIED, ".venv"]:
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "models", tmp_path / "models", ignore=shutil.ignore_patterns("iris"))
    shutil.copytree(artifacts, tmp_path / "artifacts", symlinks=True)
    return tmp_path


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Stranger:
    """Types what the README says, and reads what comes."""

    def __init__(self, folder, port):
        self.folder, self.port = folder, port
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("WHYSERVE_", "KERAS_"))}
        self.environment = {**clean, "WHYSERVE_PORT": str(port), "NO_PROXY": "*", "MAKEFLAGS": ""}

    def types(self, block):
        command = block.replace("localhost:8000", f"127.0.0.1:{self.port}")
        return subprocess.run(
            ["bash", "-euc", command], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, timeout=240, check=True,
        ).stdout  # fmt: skip

    def starts(self, block):
        service = subprocess.Popen(
            ["bash", "-euc", block], cwd=self.folder, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        said: list[str] = []
        assert service.stdout is not None
        for line in service.stdout:
            said.append(line.rstrip())
            if "Ctrl-C" in line:
                return service, said
        raise AssertionError("\n".join(said))

    def presses_ctrl_c(self, service):
        os.killpg(service.pid, signal.SIGINT)
        rest, _ = service.communicate(timeout=60)
        assert "Traceback" not in rest


@pytest.mark.timeout(400)
def test_the_blocks_run_and_the_answers_are_true(checkout, port):
    (_, run), (_, predict), (_, prediction), (_, explain), (_, explanation), (_, own) = BLOCKS
    stranger = Stranger(checkout, port)
    service, said = stranger.starts(run)
    try:
        holds(json.loads(prediction), json.loads(stranger.types(predict)))
        holds(json.loads(explanation), json.loads(stranger.types(explain)))
        for pasted in [line.strip() for line in said if line.strip().startswith("curl")]:
            assert "model" in json.loads(stranger.types(pasted))
    finally:
        stranger.presses_ctrl_c(service)

    stranger.types(own)
    service, said = stranger.starts(run)
    try:
        assert any(line.startswith("iris: exported from keras") for line in said)
        answer = stranger.types(explain.replace("fclayer", "iris").replace('"bmi": 36.1, "bp": 115.0', IRIS))
        (output,) = json.loads(answer)["explanations"][0]["outputs"]
        assert abs(output["residual"]) < 1e-5
    finally:
        stranger.presses_ctrl_c(service)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


IRIS = '"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2'


def holds(said, got):
    """What the README shows is in the answer, to the digits shown."""
    if isinstance(said, dict):
        for key in said:
            holds(said[key], got[key])
    elif isinstance(said, list):
        assert len(said) == len(got)
        for one, other in zip(said, got, strict=True):
            holds(one, other)
    else:
        assert got == (pytest.approx(said, rel=1e-5, abs=1e-5) if isinstance(said, float) else said)
