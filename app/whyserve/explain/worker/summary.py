"""Summarise many rows: the mean |attribution| of each feature, by output."""

from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic_core import to_json

from whyserve.explain.game.base import Attribution, Stopped
from whyserve.explain.models.explainable import ExplainableModel
from whyserve.explain.worker.results import common_fields
from whyserve.jobs import ExplainJob, JobResult
from whyserve.model.choice import MethodChoice
from whyserve.model.outputs import Outputs
from whyserve.model.players import Partition

CHUNK_ROWS = 16

OnProgress = Callable[[float], bool]
ExplainPart = Callable[[slice, OnProgress], Attribution]
"""Explains some rows of a job."""


class _Sums:
    """Sums over the rows for which one output is explained. absolute: (P,). residual: the largest."""

    def __init__(self, players: int) -> None:
        self.rows, self.value, self.residual = 0, 0.0, 0.0
        self.absolute = np.zeros(players)

    def add(self, value: float, values: np.ndarray, residual: float) -> None:
        self.rows += 1
        self.value += value
        self.absolute += np.abs(values)
        self.residual = max(self.residual, abs(residual))


def summarise(
    job: ExplainJob,
    model: ExplainableModel,
    choice: MethodChoice,
    partition: Partition,
    explain: ExplainPart,
    *,
    on_progress: OnProgress,
) -> JobResult:
    """Summarise as many rows as the deadline allows.

    Raises UnsupportedNetwork, InvalidInput, and Stopped if no chunk was complete.
    """
    total = len(job.outputs)
    sums = {output.name: _Sums(partition.fixed.count) for output in model.outputs.all}
    done = 0
    for first in range(0, total, CHUNK_ROWS):
        count = min(CHUNK_ROWS, total - first)
        try:
            found = explain(
                slice(first, first + count),
                lambda share, first=first, count=count: on_progress((first + share * count) / total),  # type: ignore[misc]
            )
        except Stopped:
            break
        if not found.complete:
            break  # these rows have larger errors than the others
        _add(sums, job, model, first, found)
        done += count
    if not done:
        raise Stopped
    summary = [_describe(partition, name, each) for name, each in sums.items() if each.rows]
    body = {**common_fields(job, model, choice, partition, complete=done == total), "rows": done, "summary": summary}
    return JobResult(to_json(body), method=choice.method)


def _add(sums: dict[str, _Sums], job: ExplainJob, model: ExplainableModel, first: int, found: Attribution) -> None:
    """Add the attributions of a chunk that begins at row `first` of the job."""
    scored = model.scored(job)
    named = Outputs(model.spec, scored.shape[1], job.scale).named
    values, base = found.values.double().numpy(), found.base_values.double().numpy()
    for row in range(len(values)):
        for column, output in enumerate(named(job.outputs[first + row])):
            value = output.offset + output.sign * float(scored[first + row, output.column])
            base_value = output.offset + output.sign * float(base[row, column])
            each = output.sign * values[row, column]
            sums[output.name].add(value, each, value - base_value - float(each.sum()))


def _describe(partition: Partition, name: str, sums: _Sums) -> dict[str, Any]:
    means = partition.fixed.described(sums.absolute / sums.rows)
    return {
        "output": name,
        "rows": sums.rows,
        "mean_value": sums.value / sums.rows,
        "mean_absolute_attributions": means["attributions"],
        **({"players": means["players"]} if "players" in means else {}),
        "largest_residual": sums.residual,
    }
