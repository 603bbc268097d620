"""Jobs of one model and method → answers. What may share passes is computed as one batch of rows."""

from collections.abc import Callable, Sequence
from math import frexp

import torch

from whyserve.explain.game.base import Attribution, Limits
from whyserve.explain.models.explainable import ExplainableModel
from whyserve.explain.worker.job_inputs import columns_of, deadline_of, rows_of
from whyserve.explain.worker.results import JobResult, answer
from whyserve.explain.worker.summary import summarise
from whyserve.jobs import ExplainJob


def shareable(job: ExplainJob) -> tuple[object, ...]:
    """Jobs with the same batch key and the same value of this function share passes.

    A summary is made alone, and so is a drawing.
    """
    # The first deadline ends a batch for all of it: one of a second must not cut short its neighbours of minutes.
    patience = None if job.deadline is None else frexp(job.deadline - job.created)[1]
    return (job.id,) if job.summary or job.drawing else (job.samples, job.seed, len(job.outputs[0]), patience)


def compute(
    jobs: Sequence[ExplainJob],
    model: ExplainableModel,
    on_progress: Callable[[float], bool],
    on_error: Callable[[float], None] | None = None,
    between: Callable[[], None] | None = None,
) -> list[JobResult]:
    """The answers of jobs with the same `shareable` key, in their order. on_progress, on_error: as Limits has them.

    between: called between the chunks of a summary.

    Raises UnsupportedMethod, UnsupportedNetwork, InvalidInput, Stopped.
    """
    if jobs[0].drawing:
        from whyserve.explain.pictures.draw import drawn  # noqa: PLC0415 (matplotlib, for a worker that is asked to draw)

        return [JobResult(drawn(job, model.spec), "drawing") for job in jobs]
    if jobs[0].summary:
        return [summarise(job, model, on_progress, between) for job in jobs]
    choice = model.choose(jobs[0].method, jobs[0].background, samples=jobs[0].samples)
    explainer = model.explainer(choice.method, jobs[0].background)
    given = [rows_of(job, model) for job in jobs]
    rows = {name: torch.cat([part[name] for part in given]) for name in given[0]}
    columns = columns_of(model, [names for job in jobs for names in job.outputs])
    limits = Limits(
        samples=choice.samples,
        seed=jobs[0].seed,
        deadline=deadline_of(jobs),
        on_progress=on_progress,
        on_error=on_error,
    )
    whole = explainer.explain(rows, columns, limits)
    counts = [len(job.outputs) for job in jobs]
    return [answer(job, model, choice, part) for job, part in zip(jobs, _split(whole, counts), strict=True)]


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
