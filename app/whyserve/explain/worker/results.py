"""Attributions of a network's columns → explanations of named outputs, as the API gives them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic_core import to_json

from whyserve.explain.game.base import Attribution
from whyserve.explain.models.explainable import Choice, ExplainableModel
from whyserve.jobs import ExplainJob
from whyserve.model.outputs import Output
from whyserve.model.players import by_key
from whyserve.model.text import TokenSpans


@dataclass(frozen=True, slots=True)
class JobResult:
    """json: as the API gives it. residual: the largest of it, as a share of what is explained; None of a summary."""

    json: bytes
    method: str
    residual: float | None = None


def answer(job: ExplainJob, model: ExplainableModel, choice: Choice, attribution: Attribution) -> JobResult:
    """One job's answer. attribution: of this job's rows, at its outputs' columns."""
    served = job.served.unpack()
    predictions = model.outputs.predictions(served)
    body: dict[str, Any] = {
        **head(job, model, choice, complete=attribution.complete),
        "explanations": [
            {
                "prediction": prediction,
                "outputs": [
                    _output(model, output, served[row], attribution, (row, place), texts=_texts(job, row))
                    for place, output in enumerate(outputs_of(model, job.outputs[row]))
                ],
            }
            for row, prediction in enumerate(predictions)
        ],
    }
    return JobResult(to_json(body), choice.method, _residual(body))


def _residual(body: dict[str, Any]) -> float:
    """The largest |residual|, over the largest |value − base value|."""
    outputs = [output for explanation in body["explanations"] for output in explanation["outputs"]]
    scale = max(abs(output["value"] - output["base_value"]) for output in outputs)
    residual: float = max(abs(output["residual"]) for output in outputs)
    return residual / scale if scale else residual


def head(job: ExplainJob, model: ExplainableModel, choice: Choice, *, complete: bool) -> dict[str, Any]:
    """What an answer says of all its rows."""
    return {
        "id": job.id,
        "model": job.model,
        "version": job.version,
        "manifest": job.digest,
        "method": choice.method,
        **({"method_reason": choice.reason} if choice.reason else {}),
        **({} if choice.distance is None else {"expected_distance": choice.distance}),
        "background": model.described(job.background),
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
    at: tuple[int, int],
    *,
    texts: Mapping[str, TokenSpans],
) -> dict[str, Any]:
    """`value` is what was served, and the residual is measured from it: a drift between the two would show."""
    value = output.offset + output.sign * float(served[output.column])
    base = output.offset + output.sign * float(attribution.base_values[at])
    values = output.sign * attribution.values[at].double().numpy()
    explained = {
        "output": output.name,
        "value": value,
        "base_value": base,
        "attributions": _by_token(by_key(model.spec, values), texts),
        "residual": value - base - float(values.sum()),
    }
    if attribution.standard_errors is not None:
        # Of the padding, a sum of several: at most this, however they go together.
        errors = by_key(model.spec, attribution.standard_errors[at].double().numpy())
        explained["standard_errors"] = _by_token(errors, texts)
    return explained


def _by_token(values: dict[str, Any], texts: Mapping[str, TokenSpans]) -> dict[str, Any]:
    """By key of an instance; of a text, a list of its tokens in place of a number for each place of the input."""
    return {**values, **{name: spans.described(values[name]) for name, spans in texts.items()}}
