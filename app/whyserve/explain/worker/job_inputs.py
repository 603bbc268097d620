"""Convert the fields of jobs to the arguments of an explanation method."""

import time
from collections.abc import Sequence

import torch

from whyserve.explain.models.explainable import ExplainableModel, to_tensors
from whyserve.explain.worker.results import outputs_of
from whyserve.jobs import ExplainJob
from whyserve.model.arrays import check_arrays
from whyserve.model.outputs import same_length
from whyserve.model.rows import Arrays


def rows_of(job: ExplainJob, model: ExplainableModel) -> dict[str, torch.Tensor]:
    """(rows, *shape) per input. Raises InvalidInput."""
    arrays: Arrays = {name: packed.unpack() for name, packed in job.rows.items()}
    return to_tensors(check_arrays(model.spec, arrays))


def columns_of(model: ExplainableModel, names: Sequence[Sequence[str]]) -> torch.Tensor:
    """(R, K) int64: the network's columns of the outputs to explain. names: at most K output names per row."""
    columns = [[output.column for output in outputs_of(model, list(each))] for each in names]
    return torch.tensor(same_length(columns, 0))


def deadline_of(jobs: Sequence[ExplainJob]) -> float | None:
    """The first deadline of the jobs, converted from the epoch to time.monotonic(); None if there is none."""
    deadlines = [job.deadline for job in jobs if job.deadline is not None]
    return time.monotonic() + min(deadlines) - time.time() if deadlines else None
