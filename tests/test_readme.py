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
BLOCKS = [body for _, body in re.findall(r"```(sh|json|python)\n(.*?)```", TEXT, re.DOTALL)]
RUN, TEST, INSTALL, NOTEBOOK, PREDICT, PREDICTION, EXPLAIN, EXPLANATION, OWN = BLOCKS
CARRIED = ["Makefile", "pyproject.toml", "constraints.txt", "README.md", "app"]


@pytest.fixture
def checkout(tmp_path, artifacts):
    """What a stranger has after the first `make run`: the code, the environment, the exported models."""
    stamp = ROOT / ".venv" / ".installed"
    newest = max((ROOT / name).stat().st_mtime for name in ("pyproject.toml", "constraints.txt"))
    # Else `make run` would install this temporary folder into the environment.
    assert stamp.stat().st_mtime >= newest, "pyproject.toml changed after the installation: run make install"
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

    def types(self, block, program=("bash", "-euc"), **environment):
        command = block.replace("localhost:8000", f"127.0.0.1:{self.port}")
        done = subprocess.run(
            [*program, command], cwd=self.folder, env={**self.environment, **environment},
            capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

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
    stranger = Stranger(checkout, port)
    service, said = stranger.starts(RUN)
    try:
        holds(json.loads(PREDICTION), json.loads(stranger.types(PREDICT)))
        holds(json.loads(EXPLANATION), json.loads(stranger.types(EXPLAIN)))
        for pasted in [line.strip() for line in said if line.strip().startswith("curl")]:
            assert "model" in json.loads(stranger.types(pasted))
    finally:
        stranger.presses_ctrl_c(service)

    accuracy = float(stranger.types(OWN).strip().splitlines()[-1].rpartition(" ")[2])
    assert accuracy >= 0.9
    service, said = stranger.starts(RUN)
    try:
        assert any(line.startswith("iris: ") and "keras" in line for line in said)
        answer = stranger.types(EXPLAIN.replace("fclayer", "iris").replace('"bmi": 36.1, "bp": 115.0', IRIS))
        (output,) = json.loads(answer)["explanations"][0]["outputs"]
        assert abs(output["residual"]) < 1e-5
    finally:
        stranger.presses_ctrl_c(service)


@pytest.mark.slow
def test_the_notebook_s_lines_run(tmp_path):
    stranger = Stranger(tmp_path, 0)
    program = [str(ROOT / ".venv" / "bin" / "python"), "-W", "ignore", "-c"]
    printed = stranger.types(NOTEBOOK, program, MPLBACKEND="Agg")
    assert re.search(r"Explanation of 20 rows by \w+: value; largest residual \S+e-\d\d", printed), printed


def test_what_pip_installs_is_whyserve_with_the_extra_that_a_notebook_needs(checkout, port):
    environment = {"PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
    # Its dependencies are in this environment; without them, and without an isolated build, nothing is downloaded.
    quiet = {"PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_TARGET": str(checkout / "site")}
    Stranger(checkout, port).types(INSTALL, **environment, **quiet)
    assert (checkout / "site" / "whyserve" / "__init__.py").is_file()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_second_command_runs_tests(checkout, port):
    for name in ("tests", "benchmarks"):
        (checkout / name).symlink_to(ROOT / name)
    (checkout / ".venv-kserve").symlink_to(ROOT / ".venv-kserve")
    printed = Stranger(checkout, port).types(TEST, T="tests/model/test_outputs.py")
    assert re.search(r"\d+ passed", printed), printed


@pytest.mark.parametrize(
    "page", [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
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
