"""One step of an export in a process of its own, because Keras has one backend a process.

    python -m whyserve.export.stages.keras TASK.json …
    python -m whyserve.export.stages.torch TASK.json …

A task names a model folder and a work folder. Into the work folder the step writes what it made, or fault.txt:
one line that says what is wrong, so that one model's fault does not hide another's.
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
from whyserve.model.arrays import read_npz
from whyserve.model.manifest import sha256
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec, read_spec

FAULT_FILE = "fault.txt"
ROWS_FILE = "rows.npz"
EXAMPLES_FILE = "examples.npz"  # the example's rows, of a model that is sent text
ORIGINAL_FILE = "original.npy"  # what the original returns for the rows
NETWORK_OUTPUT_FILE = "network.npy"  # what the torch network that explains returns for them
CERTIFICATE_FILE = "certificate.json"
VOCABULARIES_FILE = "vocabularies.json"
BATCH = 64


@dataclass(frozen=True, slots=True)
class Task:
    """folder: the model's. work: where results go. digests: SHA-256 of the model's files."""

    folder: str
    work: str
    digests: dict[str, str]
    budget_ms: float

    def spec(self) -> ModelSpec:
        return read_spec(Path(self.folder))

    def read(self, name: str) -> bytes:
        """A file of the model folder, as it was when the export began."""
        content = Path(self.folder, name).read_bytes()
        if sha256(content) != self.digests[name]:
            raise ModelFault(f"{Path(self.folder).name}/{name}: changed during the export; run it again")
        return content

    def rows(self) -> Arrays:
        return read_npz(Path(self.work, ROWS_FILE).read_bytes())

    def examples(self) -> Arrays:
        """By input; empty where there are none."""
        path = Path(self.work, EXAMPLES_FILE)
        return read_npz(path.read_bytes()) if path.exists() else {}


def run_stage(module: str, tasks: Sequence[Task], keras_backend: str) -> None:
    """Run a step over all tasks in one process. Raises ModelFault when the process itself dies."""
    files = []
    for task in tasks:
        path = Path(task.work, "task.json")
        path.write_text(json.dumps(asdict(task)))
        files.append(str(path))
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "ignore", "-m", module, *files],
        env={**os.environ, **quiet, "KERAS_BACKEND": keras_backend},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
        raise ModelFault(f"{module} ended with {done.returncode}: {last}")


def main(step: Callable[[Task], None]) -> None:
    """Run `step` for each task named on the command line."""
    for file in sys.argv[1:]:
        task = Task(**json.loads(Path(file).read_text()))
        try:
            step(task)
        except WhyserveError as error:
            Path(task.work, FAULT_FILE).write_text(error.message)
        except Exception as error:  # whatever a framework raises about a model is a fault of that model
            Path(task.work, FAULT_FILE).write_text(f"{Path(task.folder).name}: {first_line(error)}")


def in_batches(call: Callable[[Arrays], np.ndarray], rows: Arrays, batch: int = BATCH) -> np.ndarray:
    """Outputs of all rows, (rows, …), a batch at a time."""
    total = len(next(iter(rows.values())))
    parts = [call({name: a[first : first + batch] for name, a in rows.items()}) for first in range(0, total, batch)]
    return np.concatenate(parts)
