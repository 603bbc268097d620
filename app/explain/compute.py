"""Jobs of one model and method → answers. What may share passes is computed as one batch of rows."""

import time
from collections.abc import Callable, Sequence

import torch

from app.explain.answers import answer, outputs_of
from app.explain.attribution import Attribution, Limits
from app.explain.model import ExplainableModel, to_tensors
from app.inputs import Arrays, check_arrays
from app.jobs import ExplainJob


def shareable(job: ExplainJob) -> tuple[int | None, int, int]:
    """Jobs of one lane with the same key share passes: samples, seed, and outputs a row."""
    return job.samples, job.seed, len(job.outputs[0])


def compute(jobs: Sequence[ExplainJob], model: ExplainableModel, on_progress: Callable[[float], bool]) -> list[bytes]:
    """The answers of jobs with the same `shareable` key, in their order.

    Raises UnsupportedMethod, UnsupportedNetwork, InvalidInput, Stopped.
    """
    method, reason = model.choose(jobs[0].method)
    explainer = model.explainer(method)
    given = [_rows(job, model) for job in jobs]
    rows = {name: torch.cat([part[name] for part in given]) for name in given[0]}
    columns = torch.tensor(
        [[output.column for output in outputs_of(model, names)] for job in jobs for names in job.outputs]
    )
    limits = Limits(samples=jobs[0].samples, seed=jobs[0].seed, deadline=_deadline(jobs), on_progress=on_progress)
    whole = explainer.explain(rows, columns, limits)
    counts = [len(job.outputs) for job in jobs]
    return [answer(job, model, method, reason, part) for job, part in zip(jobs, _split(whole, counts), strict=True)]


def _rows(job: ExplainJob, model: ExplainableModel) -> dict[str, torch.Tensor]:
    arrays: Arrays = {name: packed.unpack() for name, packed in job.rows.items()}
    return to_tensors(check_arrays(model.spec, arrays))


def _deadline(jobs: Sequence[ExplainJob]) -> float | None:
    """The first deadline, on the monotonic clock that the methods watch."""
    deadlines = [job.deadline for job in jobs if job.deadline is not None]
    return time.monotonic() + min(deadlines) - time.time() if deadlines else None


def _split(whole: Attribution, counts: Sequence[int]) -> list[Attribution]:
    parts, first = [], 0
    for count in counts:
        end = first + count
        parts.append(
            Attribution(
                values=whole.values[first:end],
                base_values=whole.base_values[first:end],
                predictions=whole.predictions[first:end],
                standard_errors=None if whole.standard_errors is None else whole.standard_errors[first:end],
                rows_evaluated=whole.rows_evaluated,
                complete=whole.complete,
            )
        )
        first = end
    return parts
