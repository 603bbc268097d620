"""Compute jobs with one batch key as one batch of rows."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from whyserve.explain.game.base import Attribution, Limits
from whyserve.explain.models.explainable import ExplainableModel
from whyserve.explain.models.row_games import players_of
from whyserve.explain.worker.reasons import further_fields
from whyserve.explain.worker.results import Explained, answer
from whyserve.explain.worker.summary import OnProgress, summarise
from whyserve.jobs import ExplainJob, JobResult
from whyserve.model.choice import MethodChoice
from whyserve.model.outputs import same_length
from whyserve.model.players import Partition

OnError = Callable[[float], None] | None


def compute(
    jobs: Sequence[ExplainJob], model: ExplainableModel, on_progress: OnProgress, on_error: OnError = None
) -> list[JobResult]:
    """The results of jobs with one batch key, in their order.

    on_progress, on_error: as in Limits.
    Raises UnsupportedMethod, UnsupportedNetwork, InvalidInput, Stopped.
    """
    job = jobs[0]
    if job.drawing:
        from whyserve.explain.pictures.draw import draw_job  # noqa: PLC0415 (matplotlib is slow to import)

        return [JobResult(draw_job(job, model.spec), method="drawing")]
    if job.summary:
        return [_summary(job, model, on_progress)]
    choice, partition, explained = attribute(jobs, model, on_progress, on_error)
    results, first = [], 0
    for each in jobs:
        end = first + len(each.outputs)
        part = explained.part(first, end)
        more = partial(further_fields, each, model, part)
        results.append(answer(each, model, choice, partition, part, more=more))
        first = end
    return results


def attribute(
    jobs: Sequence[ExplainJob], model: ExplainableModel, on_progress: OnProgress, on_error: OnError = None
) -> tuple[MethodChoice, Partition, Explained]:
    """The attributions of all rows of jobs with one batch key. Raises as `compute`."""
    job, partition = jobs[0], model.partition_of(jobs[0].players)
    choice = _choice(job, model, partition)
    rows, columns = _rows(jobs, model), _columns(jobs, model)
    texts = [{name: spans[row] for name, spans in job.texts.items()} for job in jobs for row in range(len(job.outputs))]
    players = players_of(partition, rows, model.texts, texts)
    explainer = model.explainer(choice.method, job.background, job.scale, partition, players)
    attributions = explainer.explain(rows, columns, _limits(jobs, choice, on_progress, on_error))
    return choice, partition, Explained.of(attributions, players)


def _summary(job: ExplainJob, model: ExplainableModel, on_progress: OnProgress) -> JobResult:
    partition = model.partition_of(job.players, summary=True)
    choice = _choice(job, model, partition)
    rows, columns = _rows([job], model), _columns([job], model)
    explainer = model.explainer(choice.method, job.background, job.scale, partition)

    def explain(part: slice, on_progress: OnProgress) -> Attribution:
        some = {name: x[part] for name, x in rows.items()}
        return explainer.explain(some, columns[part], _limits([job], choice, on_progress))

    return summarise(job, model, choice, partition, explain, on_progress=on_progress)


def _choice(job: ExplainJob, model: ExplainableModel, partition: Partition) -> MethodChoice:
    return model.choose_method(
        job.method,
        job.background,
        samples=job.samples,
        standard_error=job.standard_error,
        scale=job.scale,
        players=partition.wanted,
    )


def _limits(
    jobs: Sequence[ExplainJob], choice: MethodChoice, on_progress: OnProgress, on_error: OnError = None
) -> Limits:
    job = jobs[0]
    return Limits(
        samples=choice.samples,
        standard_error=job.standard_error,
        seed=job.seed,
        interactions=job.interactions,
        deadline=_deadline(jobs),
        on_progress=on_progress,
        on_error=on_error,
    )


def _rows(jobs: Sequence[ExplainJob], model: ExplainableModel) -> dict[str, torch.Tensor]:
    """The rows of all jobs, (rows, *shape) per input. Raises InvalidInput."""
    arrays = {name: np.concatenate([job.rows[name].unpack() for job in jobs]) for name in jobs[0].rows}
    return model.tensors(arrays)


def _columns(jobs: Sequence[ExplainJob], model: ExplainableModel) -> torch.Tensor:
    """(R, K) int64: the network's columns of the outputs to explain. A row names at most K outputs."""
    columns = [[output.column for output in model.outputs.named(names)] for job in jobs for names in job.outputs]
    return torch.from_numpy(np.array(same_length(columns, 0), np.int64))


def _deadline(jobs: Sequence[ExplainJob]) -> float | None:
    """The first deadline of the jobs, converted from the epoch to time.monotonic(); None if there is none."""
    deadlines = [job.deadline for job in jobs if job.deadline is not None]
    return time.monotonic() + min(deadlines) - time.time() if deadlines else None
