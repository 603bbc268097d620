"""The command line: what --help shows, --version, and warnings of variables that are no settings."""

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from whyserve import __version__
from whyserve.arguments import COMMANDS

# What each command must not show: settings of other processes.
FOREIGN = {
    "export": {"port", "redis-url", "keys", "cache-mb", "batch-jobs", "log-level"},
    "new": {"artifacts", "port", "redis-url", "budget-ms"},
    "check": {"models", "port", "redis-url", "lease-s"},
    "verify": {"models", "port"},
    "explain": {"port", "redis-url", "batch-jobs", "lease-s", "nice", "keys"},
    "api": {"memory-mb", "nice", "budget-ms", "start-s"},
    "worker": {"port", "cache-mb", "threads", "oidc-issuer", "budget-ms"},
    "openapi": {"port", "redis-url", "drain-s"},
    "record verify": {"models", "port", "redis-url"},
    "up": set(),
}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WHYSERVE_")}
    return subprocess.run(
        [sys.executable, "-m", "whyserve.cli", *arguments],
        cwd=ROOT, env={**clean, "COLUMNS": "200", **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def shown(command: str) -> dict[str, str]:
    text = run(*command.split(), "--help").stdout.split("options:")[1]
    return {m[1]: m[2] for m in re.finditer(r"^  --([a-z-]+)((?:.|\n(?!  -))*)", text, re.MULTILINE)}


@pytest.mark.parametrize("command", FOREIGN)
def test_help_shows_what_applies_and_names_the_variable(command):
    flags = shown(command)
    assert not FOREIGN[command] & flags.keys()
    settings = COMMANDS[command.split()[0]][0]
    for name, field in settings.model_fields.items():
        flag = name.replace("_", "-")
        if name in settings.unused or field.is_required():
            assert flag not in flags
        else:
            assert f"Variable: WHYSERVE_{name.upper()}" in " ".join(flags[flag].split())
    assert not any("Default: None" in text for text in flags.values())


def test_every_command_is_tested():
    assert {command.split()[0] for command in FOREIGN} == set(COMMANDS)


def test_version():
    assert run("--version").stdout == f"whyserve {__version__}\n"


def test_a_variable_that_is_no_setting_is_named(tmp_path):
    done = run(
        "new", "small", "--models", str(tmp_path), WHYSERVE_QUEUE_DEPHT="5", WHYSERVE_PUBLISH="x", WHYSERVE_NICE=""
    )
    assert done.returncode == 0
    assert done.stderr == "whyserve new: WHYSERVE_QUEUE_DEPHT is not a setting; did you mean WHYSERVE_QUEUE_DEPTH?\n"


@pytest.mark.parametrize("command", ["up", "api", "worker", "export"])
def test_a_missing_temporary_folder_is_one_line_before_anything_starts(command, tmp_path):
    done = run(command, "--state", str(tmp_path / "q"), TMPDIR=str(tmp_path / "missing"))
    assert done.returncode == 1
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.startswith(f"whyserve {command}: TMPDIR: {tmp_path / 'missing'} cannot hold temporary files: ")
    assert not (tmp_path / "q").exists()


def test_a_full_temporary_folder_is_one_line():
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); " \
        "sys.argv = ['whyserve', 'api']; runpy.run_module('whyserve.cli', run_name='__main__')"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", limited], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.match(r"whyserve api: TMPDIR: .*: File too large; make space, or set another folder", line)
