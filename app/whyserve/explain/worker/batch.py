"""Compute jobs with one batch key as one batch of rows."""

from collections.abc import Callable, Sequence

from whyserve.explain.game.base import Limits
from whyserve.explain.models.explainable import ExplainableModel
from whyserve.explain.worker.job_inputs import columns_of, deadline_of, rows_of
from whyserve.explain.worker.results import Explained, answer
from whyserve.explain.worker.summary import summarise
from whyserve.jobs import ExplainJob, JobResult


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
    if jobs[0].drawing:
        from whyserve.explain.pictures.draw import draw_job  # noqa: PLC0415 (matplotlib is slow to import)

        return [JobResult(draw_job(job, model.spec), method="drawing") for job in jobs]
    if jobs[0].summary:
        return [summarise(job, model, on_progress) for job in jobs]
    choice = model.choose_method(jobs[0].method, jobs[0].background, samples=jobs[0].samples)
    explainer = model.explainer(choice.method, jobs[0].background)
    columns = columns_of(model, [names for job in jobs for names in job.outputs])
    limits = Limits(
        samples=choice.samples,
        seed=jobs[0].seed,
        deadline=deadline_of(jobs),
        on_progress=on_progress,
        on_error=on_error,
    )
    explained = Explained.of(explainer.explain(rows_of(jobs, model), columns, limits))
    results, first = [], 0
    for job in jobs:
        end = first + len(job.outputs)
        results.append(answer(job, model, choice, explained.part(first, end)))
        first = end
    return results
