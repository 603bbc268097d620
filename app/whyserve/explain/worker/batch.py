"""Compute jobs with one batch key as one batch of rows."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from whyserve.explain.game.base import Attribution, Limits
from whyserve.explain.models.explainable import ExplainableModel, to_tensors
from whyserve.explain.worker.results import Explained, answer
from whyserve.explain.worker.summary import summarise
from whyserve.jobs import ExplainJob, JobResult
from whyserve.model.arrays import check_arrays
from whyserve.model.outputs import same_length


def compute(
    jobs: Sequence[ExplainJob],
    model: ExplainableModel,
    on_progress: Callable[[float], bool],
    on_error: Callable[[float], None] | None = None,
) -> list[JobResult]:
    """The results of jobs with one batch key, in their order.

    on_progress, on_error: as in Limits.
    Raises UnsupportedMethod, UnsupportedNetwork, InvalidInput, Stopped.
    """
    job = jobs[0]
    if job.drawing:
        from whyserve.explain.pictures.draw import draw_job  # noqa: PLC0415 (matplotlib is slow to import)

        return [JobResult(draw_job(job, model.spec), method="drawing")]
    choice = model.choose_method(job.method, job.background, samples=job.samples, standard_error=job.standard_error)
    explainer = model.explainer(choice.method, job.background)
    rows, columns = _rows(jobs, model), _columns(jobs, model)
    limits = Limits(
        samples=choice.samples,
        standard_error=job.standard_error,
        seed=job.seed,
        deadline=_deadline(jobs),
        on_progress=on_progress,
        on_error=on_error,
    )
    if job.summary:

        def explain(part: slice, on_progress: Callable[[float], bool]) -> Attribution:
            some = {name: x[part] for name, x in rows.items()}
            return explainer.explain(some, columns[part], replace(limits, on_progress=on_progress, on_error=None))

        return [summarise(job, model, choice, explain, on_progress)]
    explained = Explained.of(explainer.explain(rows, columns, limits))
    results, first = [], 0
    for each in jobs:
        end = first + len(each.outputs)
        results.append(answer(each, model, choice, explained.part(first, end)))
        first = end
    return results


def _rows(jobs: Sequence[ExplainJob], model: ExplainableModel) -> dict[str, torch.Tensor]:
    """The rows of all jobs, (rows, *shape) per input. Raises InvalidInput."""
    arrays = {name: np.concatenate([job.rows[name].unpack() for job in jobs]) for name in jobs[0].rows}
    return to_tensors(check_arrays(model.spec, arrays))


def _columns(jobs: Sequence[ExplainJob], model: ExplainableModel) -> torch.Tensor:
    """(R, K) int64: the network's columns of the outputs to explain. A row names at most K outputs."""
    columns = [[output.column for output in model.outputs.named(names)] for job in jobs for names in job.outputs]
    return torch.tensor(same_length(columns, 0))


def _deadline(jobs: Sequence[ExplainJob]) -> float | None:
    """The first deadline of the jobs, converted from the epoch to time.monotonic(); None if there is none."""
    deadlines = [job.deadline for job in jobs if job.deadline is not None]
    return time.monotonic() + min(deadlines) - time.time() if deadlines else None
