"""Convert the attributions of a network's columns to explanations of named outputs, in the JSON of the API."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from pydantic_core import to_json

from whyserve.explain.game.base import TENSORS, Attribution
from whyserve.explain.models.explainable import ExplainableModel
from whyserve.jobs import ExplainJob, JobResult
from whyserve.model.arrays import unpacked
from whyserve.model.choice import MethodChoice
from whyserve.model.hierarchy import Tree
from whyserve.model.outputs import Output, Outputs
from whyserve.model.players import Partition, RowPlayers
from whyserve.model.scale import scale_facts
from whyserve.model.text import TokenSpans


class Explained(NamedTuple):
    """The part of an Attribution that an answer holds, in float64. values, standard_errors: (R, K, P).

    players: of each row, at most P. interactions: (R, K, P, P), or None. trees, group_errors: as in an Attribution.
    """

    values: np.ndarray
    base_values: np.ndarray
    standard_errors: np.ndarray | None
    complete: bool
    players: Sequence[RowPlayers]
    interactions: np.ndarray | None = None
    trees: Sequence[Tree] | None = None
    group_errors: np.ndarray | None = None

    @classmethod
    def of(cls, whole: Attribution, players: Sequence[RowPlayers]) -> Self:
        arrays: dict[str, Any] = {
            name: None if (x := getattr(whole, name)) is None else x.double().numpy()
            for name in TENSORS
            if name in cls._fields
        }
        return cls(**arrays, complete=whole.complete, players=players, trees=whole.trees)

    def part(self, first: int, end: int) -> Self:
        """The rows from `first` to `end`, exclusive."""
        by_row = {name: x for name, x in self._asdict().items() if x is not None and name != "complete"}
        return self._replace(**{name: x[first:end] for name, x in by_row.items()})


def answer(
    job: ExplainJob,
    model: ExplainableModel,
    choice: MethodChoice,
    partition: Partition,
    explained: Explained,
    *,
    more: Callable[[int], dict[str, Any]],
) -> JobResult:
    """The explanations of one job. explained: the job's rows and output columns. more: a row's further fields."""
    predictions, scored = model.outputs.predictions(job.served.unpack()), model.scored(job)
    named = Outputs(model.spec, scored.shape[1], job.scale).named
    rows = unpacked(job.rows)
    outside, missing = model.bounds.outside(rows), model.gaps.by_row(rows)
    explanations = [
        {
            **({"id": job.ids[row]} if job.ids and job.ids[row] is not None else {}),
            "prediction": prediction,
            "outputs": [
                {
                    **describe_output(
                        output, float(scored[row, output.column]), explained, (row, column), _texts(job, row)
                    ),
                    **({"missing": missing[row]} if missing[row] else {}),
                }
                for column, output in enumerate(named(job.outputs[row]))
            ],
            **explained.players[row].facts,
            **({"out_of_range": outside[row]} if outside[row] else {}),
            **more(row),
        }
        for row, prediction in enumerate(predictions)
    ]
    return JobResult(
        to_json(common_fields(job, model, choice, partition, complete=explained.complete)),
        [to_json(explanation) for explanation in explanations],
        choice.method,
        _residual(explanations),
        explained.complete,
    )


def _residual(explanations: Sequence[Mapping[str, Any]]) -> float:
    """The largest |residual|, divided by the largest |value − base value|."""
    outputs = [output for explanation in explanations for output in explanation["outputs"]]
    scale = max((abs(output["value"] - output["base_value"]) for output in outputs), default=0.0)
    residual: float = max((abs(output["residual"]) for output in outputs), default=0.0)
    return residual / scale if scale else residual


def common_fields(
    job: ExplainJob, model: ExplainableModel, choice: MethodChoice, partition: Partition, *, complete: bool
) -> dict[str, Any]:
    """The fields of a response that apply to all its rows."""
    players = partition.fixed if job.interactions else None
    return {
        "id": job.id,
        "model": job.model,
        "version": job.version,
        "manifest": job.digest,
        "method": choice.method,
        **({"method_reason": choice.reason} if choice.reason else {}),
        **({} if choice.samples is None else {"samples": choice.samples}),
        **({} if choice.distance is None else {"expected_distance": choice.distance}),
        **({"measured_players": partition.wanted} if choice.distance is not None and partition.wanted else {}),
        **({} if choice.doubt is None else {"reliable": False, "reliable_reason": choice.doubt}),
        **model.device_facts,
        **scale_facts(job.scale),
        **({"interaction_players": [players.names[number] for number in players.order]} if players else {}),
        "background": model.describe_background(job.background, partition),
        **({} if complete else {"complete": False}),
    }


def _texts(job: ExplainJob, row: int) -> dict[str, TokenSpans]:
    return {name: spans[row] for name, spans in job.texts.items()}


def describe_output(
    output: Output,
    scored: float,
    explained: Explained,
    index: tuple[int, int],
    texts: Mapping[str, TokenSpans] | None = None,
) -> dict[str, Any]:
    """One explained output. index: its row and its place among the row's explained outputs.

    scored: its column. Of a service, the served prediction of ONNX Runtime on the job's scale, not that of the
    explained network. The residual is measured against it: a difference between the two becomes visible.
    """
    value = output.offset + output.sign * scored
    base = output.offset + output.sign * float(explained.base_values[index])
    players = explained.players[index[0]]
    values = output.sign * explained.values[index][: players.count]
    shown = {
        "output": output.name,
        "value": value,
        "base_value": base,
        **players.described(values, texts),
        "residual": value - base - float(values.sum()),
    }
    if explained.standard_errors is not None:
        # The error of the padding tokens is a sum of several errors: an upper bound, for any correlation.
        errors = players.described(explained.standard_errors[index][: players.count], texts)
        shown["standard_errors"] = errors["attributions"]
        if "players" in errors:
            for shared, error in zip(shown["players"], errors["players"], strict=True):
                shared["standard_error"] = error["value"]
    if explained.trees is not None and explained.group_errors is not None:
        shown["tree"] = explained.trees[index[0]].described(values.tolist(), explained.group_errors[index].tolist())
    if explained.interactions is not None:
        pairs = output.sign * explained.interactions[index]
        shown["interactions"] = pairs[np.ix_(players.order, players.order)].tolist()
    return shown
