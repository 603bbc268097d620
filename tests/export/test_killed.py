"""A killed export leaves no process and no work folder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Running
from tests.export.folders import torch_folder
from whyserve.export.artifacts import WORK, work_folder

SLOW = """import time
        time.sleep(600)
        return self.layer(x)"""


def stage_of(parent: int) -> int | None:
    """The process of a stage that this process has started."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = status.read_text().rpartition(")")[2].split()
            if int(words[1]) == parent and b"whyserve.export.stages" in (status.parent / "cmdline").read_bytes():
                return int(status.parent.name)
        except OSError:
            continue
    return None


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def await_true(condition, words: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, words
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_export_leaves_no_process_and_no_folder(number, tmp_path):
    torch_folder(tmp_path / "models", "slow", SLOW)
    export = Running(["export", "--models", str(tmp_path / "models"), "--artifacts", str(tmp_path / "artifacts")])
    await_true(lambda: stage_of(export.process.pid), "no stage has begun")
    stage = stage_of(export.process.pid)
    assert stage is not None
    time.sleep(1)
    assert list((tmp_path / "artifacts").glob(f"{WORK}*"))
    os.kill(export.process.pid, number)
    export.process.wait(30)
    await_true(lambda: not is_alive(stage), "the stage runs on")
    await_true(lambda: not list((tmp_path / "artifacts").glob(f"{WORK}*")), "the folder is left")
    export.stop()


@pytest.mark.parametrize("others", [True, False])
def test_a_stage_whose_parent_has_ended_removes_only_its_own_folders(others, tmp_path):
    work = tmp_path / "scratch" / "model"
    work.mkdir(parents=True)
    if others:
        (tmp_path / "scratch" / "other").write_text("")
    code = f"import time; from pathlib import Path; from whyserve.export.stages.stage import ended_with_parent\n" \
        f"with ended_with_parent([Path({str(work)!r})]): time.sleep(600)"  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as stage:
        assert stage.stdin is not None
        stage.stdin.close()
        assert stage.wait(60) == 1
    assert not work.exists()
    assert (tmp_path / "scratch").exists() is others
    assert tmp_path.exists()


READING = """
from pathlib import Path
from whyserve.export.stages.stage import ended_with_parent
work = Path({work!r})
with ended_with_parent([work]):
    print(flush=True)
    while True:
        for file in list(work.iterdir()):
            file.read_text()
"""


def test_a_stage_that_misses_a_removed_file_still_removes_its_folder(tmp_path):
    """The removal takes longer than the stage, which fails at the first file that is missing."""
    work = tmp_path / "scratch" / "model"
    work.mkdir(parents=True)
    for number in range(5000):
        (work / str(number)).write_text("")
    with subprocess.Popen(
        [sys.executable, "-c", READING.format(work=str(work))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as stage:
        assert stage.stdout is not None
        assert stage.stdin is not None
        stage.stdout.readline()
        stage.stdin.close()
        assert stage.wait(60) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_killed_export_left_is_removed_and_one_in_use_is_not(tmp_path):
    left = tmp_path / f"{WORK}left"
    left.mkdir()
    with work_folder(tmp_path) as used:
        for folder in (left, used):
            os.utime(folder, (0, 0))
        with work_folder(tmp_path) as other:
            assert not left.exists()
            assert used.exists()
            assert other.exists()
    assert list(tmp_path.iterdir()) == []
