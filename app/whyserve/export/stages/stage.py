"""The stages of an export. Each stage has its own process, because Keras has one backend per process.

    python -m whyserve.export.stages whyserve.export.stages.keras TASK.json …
    python -m whyserve.export.stages whyserve.export.stages.torch TASK.json …

A task names a model folder and a work folder. The stage writes its results to the work folder, or fault.txt with one
line that says what is wrong. The fault of one model therefore does not stop the export of the others.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from whyserve.errors import ModelFault, WhyserveError, first_line
from whyserve.export.progress import MARK, STEPS, is_shown, step
from whyserve.export.sources import read_unchanged
from whyserve.export.stages.ids import succeeds
from whyserve.model.arrays import read_npz
from whyserve.model.rows import Arrays, each_row, row_count
from whyserve.model.spec import ModelSpec, read_spec

FAULT_FILE, FACTS_FILE = "fault.txt", "facts.json"
BATCH = 64


class Table(StrEnum):
    """An array in a work folder."""

    TAKEN = "taken.npy"  # if the original cannot take every row: (rows,) bool, which rows it takes
    ORIGINAL = "original.npy"  # output of the original network for the rows
    NETWORK = "network.npy"  # output of the network on torch, which the worker explains, for the same rows
    LOGITS = "logits.npy"  # logits of the network on torch, if it ends in softmax or sigmoid
    EXACT = "exact.npy"  # output of the same network in float64, if parity was in doubt


class Rows(StrEnum):
    """Rows in a work folder, (rows, …) by input."""

    TRIED = "rows.npz"
    EXAMPLES = "examples.npz"  # of a model that takes text


@dataclass(frozen=True, slots=True)
class Task:
    """folder: the model folder. work: the folder for results. digests: SHA-256 of the model's files.

    settings: of the export, the budgets of build.export_all. real: the number of rows in Rows.TRIED that are real; they
    come first. fills: what the network gets for a missing value, by feature.
    """

    folder: str
    work: str
    digests: dict[str, str]
    settings: dict[str, float]
    real: int
    fills: dict[str, float] = field(default_factory=dict)

    def spec(self) -> ModelSpec:
        return read_spec(Path(self.folder))

    def read(self, name: str) -> bytes:
        """A file of the model folder. Raises ModelFault if it changed after the export began."""
        return read_unchanged(Path(self.folder), name, self.digests[name])

    def path(self, name: str) -> Path:
        """A file of the work folder."""
        return Path(self.work, name)

    def save(self, name: Table, table: np.ndarray) -> None:
        np.save(self.path(name), table)

    def table(self, name: Table) -> np.ndarray:
        found: np.ndarray = np.load(self.path(name))
        return found

    def save_rows(self, arrays: Arrays, name: Rows = Rows.TRIED) -> None:
        np.savez(self.path(name), **arrays)  # type: ignore[arg-type]  # numpy's stub takes the first for a flag

    def rows(self, name: Rows = Rows.TRIED) -> Arrays:
        """Rows by input; empty if there are none of this name."""
        return read_npz(self.path(name).read_bytes()) if self.path(name).exists() else {}

    def save_facts(self, **facts: Any) -> None:
        """Save what the torch stage measured, in the words of the manifest."""
        self.path(FACTS_FILE).write_text(json.dumps(facts))

    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path(FACTS_FILE).read_text())
        return found

    def fault(self) -> str | None:
        """What is wrong with the model, if a stage found a fault."""
        return self.path(FAULT_FILE).read_text() if self.path(FAULT_FILE).exists() else None


def start(arguments: Sequence[str], environment: dict[str, str]) -> "subprocess.Popen[str]":
    """Start a stage. arguments: its module and the files of its tasks. environment: all variables."""
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-W", "ignore", "-m", "whyserve.export.stages", *arguments], env=environment, text=True,
        errors="replace", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def run_stage(module: str, tasks: Sequence[Task], keras_backend: str) -> None:
    """Run a stage for all tasks in one process. Raises ModelFault if the process itself fails."""
    files = {str(task.path("task.json")): asdict(task) for task in tasks}
    for file, content in files.items():
        Path(file).write_text(json.dumps(content))
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "-1"}
    steps = {STEPS: "1"} if is_shown() else {}
    last = "no output"
    with start([module, *files], {**os.environ, **quiet, **steps, "KERAS_BACKEND": keras_backend}) as process:
        try:
            for line in process.stdout or ():
                if line.startswith(MARK):
                    step(line[len(MARK) :].strip())
                else:
                    last = line.strip() or last
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise ModelFault(f"the process of {module} ended with exit code {process.returncode}: {last}")


@contextmanager
def ended_with_parent(work: Sequence[Path]) -> Iterator[None]:
    """End this process, and remove its work folders, when the process that started it ends, even by SIGKILL."""
    has_ended = threading.Event()

    def watch() -> None:
        os.read(0, 1)  # returns at the parent's end: nothing is ever written
        has_ended.set()
        for folder in work:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                folder.parent.rmdir()  # the last work folder was in it
        os._exit(1)

    watcher = threading.Thread(target=watch, name="parent", daemon=True)
    if stat.S_ISFIFO(os.fstat(0).st_mode):  # not if a person has started it
        watcher.start()
    try:
        yield
    except OSError:
        # A missing file may be one that `watch` has just removed. The end of this thread would stop `watch` too early.
        if has_ended.is_set():
            watcher.join()
        raise


def main(stage: Callable[[Task], None], files: Sequence[str]) -> None:
    """Run a stage for each task. files: of the tasks."""
    with ended_with_parent([Path(file).parent for file in files]):
        for file in files:
            task = Task(**json.loads(Path(file).read_text()))
            try:
                stage(task)
            except WhyserveError as error:
                task.path(FAULT_FILE).write_text(error.message)
            except Exception as error:  # any error that a framework raises is a fault of this model
                task.path(FAULT_FILE).write_text(f"{Path(task.folder).name}: {first_line(error)}")


def no_onnx_operation(framework: str, operations: Sequence[str]) -> str:
    """The message for operations that cannot be exported."""
    return f"ONNX has no operation for {framework}'s {', '.join(operations)}; build that part from other operations"


def original_outputs(task: Task, spec: ModelSpec, call: Callable[[Arrays], np.ndarray]) -> np.ndarray:
    """The outputs of the original network for the rows of a task.

    An invented row that the network cannot take, such as an id outside its table, is removed from the rows, and
    Table.TAKEN says so. Raises whatever the network raises on a real row, and ModelFault for a category without room.
    """
    rows = task.rows()
    try:
        return in_batches(call, rows)
    except Exception:
        taken = np.array([succeeds(call, row) for row in each_row(rows)])
        if not taken[: task.real].all():
            if fault := _without_room(spec, rows, taken):
                raise ModelFault(fault) from None
            raise
    rows = {name: array[taken] for name, array in rows.items()}
    task.save_rows(rows)
    task.save(Table.TAKEN, taken)
    return in_batches(call, rows)


def _without_room(spec: ModelSpec, rows: Arrays, taken: np.ndarray) -> str | None:
    """What is wrong if the network takes no row without a value of some category."""
    for item in spec.inputs:
        for name, feature, codes in item.columns(rows[item.name]):
            if feature and feature.categories and feature.missing is True:
                count = len(feature.categories)
                if not taken[codes == count].any():
                    return (
                        f'{spec.name}: missing = true of "{name}" needs room for the code {count}, but the network'
                        f' does not take it; give its lookup {count + 1} entries, or set missing = {{ fill = "mode" }}'
                    )
    return None


def in_batches(call: Callable[[Arrays], np.ndarray], rows: Arrays, batch: int = BATCH) -> np.ndarray:
    """The outputs of all rows, (rows, …), computed in batches."""
    firsts = range(0, row_count(rows), batch)
    return np.concatenate([call({name: a[first : first + batch] for name, a in rows.items()}) for first in firsts])
