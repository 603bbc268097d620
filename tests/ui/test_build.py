"""What is built now is what is committed; and the page's types are those of the API's own document."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from whyserve.api.routes.page import STATIC

pytestmark = pytest.mark.ui

UI = ROOT / "ui"


def npm(script, **environment):
    done = subprocess.run(
        ["npm", "run", "--silent", script],
        cwd=UI, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_build_is_what_is_committed(tmp_path):
    npm("build", UI_OUT=str(tmp_path))
    assert contents(tmp_path) == contents(STATIC), "run `make ui`"


def test_the_page_fits_the_document(artifacts):
    printed = subprocess.run(
        [sys.executable, "-m", "whyserve.cli", "openapi", "--artifacts", str(artifacts)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (UI / "openapi.json").write_text(printed.stdout)
    npm("types")
    npm("check")
