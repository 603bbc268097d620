"""Convert the attributions of a network's columns to explanations of named outputs, in the JSON of the API."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from pydantic_core import to_json

from whyserve.explain.game.base import Attribution
from whyserve.explain.models.explainable import ExplainableModel
from whyserve.jobs import ExplainJob, JobResult
from whyserve.model.choice import MethodChoice
from whyserve.model.outputs import Output
from whyserve.model.text import TokenSpans


class Explained(NamedTuple):
    """The part of an Attribution that an answer holds, in float64. values, standard_errors: (R, K, P)."""

    values: np.ndarray
    base_values: np.ndarray
    standard_errors: np.ndarray | None
    complete: bool

    @classmethod
    def of(cls, whole: Attribution) -> Self:
        errors = whole.standard_errors
        values, base = whole.values.double().numpy(), whole.base_values.double().numpy()
        return cls(values, base, None if errors is None else errors.double().numpy(), whole.complete)

    def part(self, first: int, end: int) -> Self:
        """The rows from `first` to `end`, exclusive."""
        errors = self.standard_errors
        return self._replace(
            values=self.values[first:end],
            base_values=self.base_values[first:end],
            standard_errors=None if errors is None else errors[first:end],
        )


def answer(job: ExplainJob, model: ExplainableModel, choice: MethodChoice, explained: Explained) -> JobResult:
    """The explanations of one job. explained: the job's rows and output columns."""
    served = job.served.unpack()
    predictions = model.outputs.predictions(served)
    outside = model.bounds.outside({name: packed.unpack() for name, packed in job.rows.items()})
    explanations = [
        {
            **({"id": job.ids[row]} if job.ids and job.ids[row] is not None else {}),
            "prediction": prediction,
            "outputs": [
                _output(model, output, served[row], explained, (row, column), texts=_texts(job, row))
                for column, output in enumerate(model.outputs.named(job.outputs[row]))
            ],
            **({"out_of_range": outside[row]} if outside[row] else {}),
        }
        for row, prediction in enumerate(predictions)
    ]
    return JobResult(
        to_json(common_fields(job, model, choice, complete=explained.complete)),
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


def common_fields(job: ExplainJob, model: ExplainableModel, choice: MethodChoice, *, complete: bool) -> dict[str, Any]:
    """The fields of a response that apply to all its rows."""
    return {
        "id": job.id,
        "model": job.model,
        "version": job.version,
        "manifest": job.digest,
        "method": choice.method,
        **({"method_reason": choice.reason} if choice.reason else {}),
        **({} if choice.distance is None else {"expected_distance": choice.distance}),
        **({} if choice.doubt is None else {"reliable": False, "reliable_reason": choice.doubt}),
        "background": model.describe_background(job.background),
        **({} if complete else {"complete": False}),
    }


def _texts(job: ExplainJob, row: int) -> dict[str, TokenSpans]:
    return {name: spans[row] for name, spans in job.texts.items()}


def _output(
    model: ExplainableModel,
    output: Output,
    served: np.ndarray,
    explained: Explained,
    index: tuple[int, int],
    *,
    texts: Mapping[str, TokenSpans],
) -> dict[str, Any]:
    """One explained output. index: its row and its place among the row's explained outputs.

    `value` is the served prediction of ONNX Runtime, not that of the explained network, and the residual is measured
    against it: a difference between the two becomes visible.
    """
    value = output.offset + output.sign * float(served[output.column])
    base = output.offset + output.sign * float(explained.base_values[index])
    values = output.sign * explained.values[index]
    shown = {
        "output": output.name,
        "value": value,
        "base_value": base,
        "attributions": _by_token(model.by_key(values), texts),
        "residual": value - base - float(values.sum()),
    }
    if explained.standard_errors is not None:
        # The error of the padding tokens is a sum of several errors: an upper bound, for any correlation.
        shown["standard_errors"] = _by_token(model.by_key(explained.standard_errors[index]), texts)
    return shown


def _by_token(values: dict[str, Any], texts: Mapping[str, TokenSpans]) -> dict[str, Any]:
    """Replace the numbers of each text input with a list of its tokens and their numbers."""
    return {**values, **{name: spans.described(values[name]) for name, spans in texts.items()}}
