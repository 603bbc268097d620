"""A new build equals the committed one, and the page matches the types of the API's document."""

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


def test_a_new_build_equals_the_committed_one(tmp_path):
    npm("build", UI_OUT=str(tmp_path))
    assert contents(tmp_path) == contents(STATIC), "run `make ui`"


def test_the_page_matches_the_document(artifacts):
    printed = subprocess.run(
        [sys.executable, "-m", "whyserve.cli", "openapi", "--artifacts", str(artifacts)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (UI / "openapi.json").write_text(printed.stdout)
    npm("types")
    npm("check")
