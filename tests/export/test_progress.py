"""The steps of an export: on a terminal they are shown from the first second, and elsewhere nothing is."""

import os
import pty
import subprocess
import sys

from tests.conftest import ROOT
from tests.export.folders import torch_folder

PROGRAM = """
import sys
from whyserve.export.package.package import check
check(sys.argv[1])
"""
STEPS = (
    "loading the network",
    "running the original on",
    "exporting to ONNX",
    "trying method exact",
    "in batches of 64",
)


def shown(tmp_path, stderr: int) -> None:
    folder = torch_folder(tmp_path, "small")
    subprocess.run([sys.executable, "-c", PROGRAM, folder], cwd=ROOT, stderr=stderr, check=True)


def test_a_terminal_shows_each_step_and_a_file_none(tmp_path):
    leader, follower = pty.openpty()
    shown(tmp_path / "seen", follower)
    os.close(follower)
    said = b""
    try:
        while part := os.read(leader, 1 << 16):
            said += part
    except OSError:  # the end of a pseudo-terminal
        pass
    os.close(leader)
    lines = said.decode().split("\r\x1b[K")
    found = [next(line for line in lines if words in line) for words in STEPS]
    assert [lines.index(line) for line in found] == sorted(lines.index(line) for line in found)
    assert lines[-1] == ""
    with (tmp_path / "log").open("wb") as log:
        shown(tmp_path / "quiet", log.fileno())
    assert (tmp_path / "log").read_bytes() == b""
