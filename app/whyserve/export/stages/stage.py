"""The stages of an export. Each stage has its own process, because Keras has one backend per process.

    python -m whyserve.export.stages.keras TASK.json …
    python -m whyserve.export.stages.torch TASK.json …

A task names a model folder and a work folder. The stage writes its results to the work folder, or fault.txt with one
line that says what is wrong. The fault of one model therefore does not stop the export of the others.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from whyserve.errors import ModelFault, WhyserveError, first_line
from whyserve.export.sources import read_unchanged
from whyserve.model.arrays import read_npz
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec, read_spec

FAULT_FILE = "fault.txt"
ROWS_FILE = "rows.npz"
EXAMPLES_FILE = "examples.npz"  # rows of the example, of a model that takes text
ORIGINAL_FILE = "original.npy"  # output of the original network for the rows
NETWORK_OUTPUT_FILE = "network.npy"  # output of the network on torch, which the worker explains, for the same rows
CERTIFICATE_FILE = "certificate.json"
VOCABULARIES_FILE = "vocabularies.json"
BATCH = 64


@dataclass(frozen=True, slots=True)
class Task:
    """folder: the model folder. work: the folder for results. digests: SHA-256 of the model's files.

    budget_ms: the time in ms per row that the default explanation method may take.
    """

    folder: str
    work: str
    digests: dict[str, str]
    budget_ms: float

    def spec(self) -> ModelSpec:
        return read_spec(Path(self.folder))

    def read(self, name: str) -> bytes:
        """A file of the model folder. Raises ModelFault if it changed after the export began."""
        return read_unchanged(Path(self.folder), name, self.digests[name])

    def rows(self) -> Arrays:
        return read_npz(Path(self.work, ROWS_FILE).read_bytes())

    def examples(self) -> Arrays:
        """The rows of the example by input; empty for a model without text."""
        path = Path(self.work, EXAMPLES_FILE)
        return read_npz(path.read_bytes()) if path.exists() else {}


def run_stage(module: str, tasks: Sequence[Task], keras_backend: str) -> None:
    """Run a stage for all tasks in one process. Raises ModelFault if the process itself fails."""
    files = []
    for task in tasks:
        path = Path(task.work, "task.json")
        path.write_text(json.dumps(asdict(task)))
        files.append(str(path))
    run_module(module, files, keras_backend)


def run_module(module: str, arguments: Sequence[str], keras_backend: str) -> None:
    """Run a module in a process of its own. Raises ModelFault if the process fails."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "ignore", "-m", module, *arguments],
        env={**os.environ, **quiet, "KERAS_BACKEND": keras_backend},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise ModelFault(f"the process of {module} ended with exit code {done.returncode}: {last}")


def main(stage: Callable[[Task], None]) -> None:
    """Run a stage for each task named on the command line."""
    for file in sys.argv[1:]:
        task = Task(**json.loads(Path(file).read_text()))
        try:
            stage(task)
        except WhyserveError as error:
            Path(task.work, FAULT_FILE).write_text(error.message)
        except Exception as error:  # any error that a framework raises is a fault of this model
            Path(task.work, FAULT_FILE).write_text(f"{Path(task.folder).name}: {first_line(error)}")


def no_onnx_operation(framework: str, operations: Sequence[str]) -> str:
    """The message for operations that cannot be exported."""
    return f"ONNX has no operation for {framework}'s {', '.join(operations)}; build that part from other operations"


def in_batches(call: Callable[[Arrays], np.ndarray], rows: Arrays, batch: int = BATCH) -> np.ndarray:
    """The outputs of all rows, (rows, …), computed in batches."""
    total = len(next(iter(rows.values())))
    parts = [call({name: a[first : first + batch] for name, a in rows.items()}) for first in range(0, total, batch)]
    return np.concatenate(parts)
