"""Convert the attributions of a network's columns to explanations of named outputs, in the JSON of the API."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic_core import to_json

from whyserve.explain.game.base import Attribution
from whyserve.explain.models.explainable import ExplainableModel, MethodChoice
from whyserve.jobs import ExplainJob, JobResult
from whyserve.model.outputs import Output
from whyserve.model.players import by_key
from whyserve.model.text import TokenSpans


def answer(job: ExplainJob, model: ExplainableModel, choice: MethodChoice, attribution: Attribution) -> JobResult:
    """The explanations of one job. attribution: of the job's rows and output columns."""
    served = job.served.unpack()
    predictions = model.outputs.predictions(served)
    explanations = [
        {
            "prediction": prediction,
            "outputs": [
                _output(model, output, served[row], attribution, (row, column), texts=_texts(job, row))
                for column, output in enumerate(outputs_of(model, job.outputs[row]))
            ],
        }
        for row, prediction in enumerate(predictions)
    ]
    return JobResult(
        to_json(common_fields(job, model, choice, complete=attribution.complete)),
        [to_json(explanation) for explanation in explanations],
        choice.method,
        _residual(explanations),
        attribution.complete,
    )


def _residual(explanations: Sequence[Mapping[str, Any]]) -> float:
    """The largest |residual|, divided by the largest |value − base value|."""
    outputs = [output for explanation in explanations for output in explanation["outputs"]]
    scale = max(abs(output["value"] - output["base_value"]) for output in outputs)
    residual: float = max(abs(output["residual"]) for output in outputs)
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
        "background": model.describe_background(job.background),
        **({} if complete else {"complete": False}),
    }


def _texts(job: ExplainJob, row: int) -> dict[str, TokenSpans]:
    return {name: spans[row] for name, spans in job.texts.items()}


def outputs_of(model: ExplainableModel, names: list[str]) -> list[Output]:
    by_name = {output.name: output for output in model.outputs.all}
    return [by_name[name] for name in names]


def _output(
    model: ExplainableModel,
    output: Output,
    served: np.ndarray,
    attribution: Attribution,
    index: tuple[int, int],
    *,
    texts: Mapping[str, TokenSpans],
) -> dict[str, Any]:
    """One explained output. index: its row and its place among the row's explained outputs.

    `value` is the served prediction of ONNX Runtime, not that of the explained network, and the residual is measured
    against it: a difference between the two becomes visible.
    """
    value = output.offset + output.sign * float(served[output.column])
    base = output.offset + output.sign * float(attribution.base_values[index])
    values = output.sign * attribution.values[index].double().numpy()
    explained = {
        "output": output.name,
        "value": value,
        "base_value": base,
        "attributions": _by_token(by_key(model.spec, values), texts),
        "residual": value - base - float(values.sum()),
    }
    if attribution.standard_errors is not None:
        # The error of the padding tokens is a sum of several errors: an upper bound, for any correlation.
        errors = by_key(model.spec, attribution.standard_errors[index].double().numpy())
        explained["standard_errors"] = _by_token(errors, texts)
    return explained


def _by_token(values: dict[str, Any], texts: Mapping[str, TokenSpans]) -> dict[str, Any]:
    """Replace the numbers of each text input with a list of its tokens and their numbers."""
    return {**values, **{name: spans.described(values[name]) for name, spans in texts.items()}}
