"""Measure one explanation method on real rows of a model: residual, distance to the reference, and time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from whyserve.errors import WhyserveError
from whyserve.explain.game.base import Attribution, Explainer, Inputs, Limits, Stopped
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.registry import EXPLAINERS

# Seconds that one method may take for all trial rows. A slower method is not offered.
TIME_LIMIT_S = 20.0
# The share of the budget that a reduced number of samples leaves unused: times vary from row to row.
MARGIN = 0.1


@dataclass(frozen=True, slots=True)
class Trial:
    """What every method is measured on.

    rows: R real rows of the model.
    outputs: (R, K), every output column, for accuracy.
    requested: the number of outputs that are explained when time is measured.
    make: prepares a method by name; None prepares it for `players`.
    """

    network: Network
    background: Inputs
    players: Players
    rows: Inputs
    outputs: torch.Tensor
    requested: int
    make: Callable[[str], Explainer] | None = None

    def prepare(self, method: str) -> Explainer:
        if self.make is not None:
            return self.make(method)
        return EXPLAINERS[method](self.network, self.background, self.players)


def measure(name: str, trial: Trial, reference: Attribution | None) -> dict[str, Any]:
    """The figures of one method: `fits` with what was measured, or `fits: false` with the reason `why`."""
    try:
        explainer = trial.prepare(name)
        first = {key: tensor[:1] for key, tensor in trial.rows.items()}
        # The first call includes the set-up, and it finds early that a method is too slow.
        explainer.explain(first, trial.outputs[:1, : trial.requested], Limits(deadline=time.monotonic() + TIME_LIMIT_S))
        return {"fits": True, **_figures(explainer, trial, reference)}
    except Stopped:
        return {"fits": False, "why": f"takes more than {TIME_LIMIT_S:.0f} s with {trial.players.count} players"}
    except WhyserveError as error:
        return {"fits": False, "why": error.message}


def measure_fewer_samples(
    name: str, trial: Trial, reference: Attribution | None, budget_ms: float
) -> dict[str, Any] | None:
    """The figures of a sampling method with the most `samples` within the budget; None if one sample exceeds it."""
    explainer = trial.prepare(name)
    one_sample_s = _seconds(explainer, trial, 1) / row_count(trial.rows)
    for samples in range(int((1 - MARGIN) * budget_ms / (1e3 * one_sample_s)), 0, -1):
        figures = _figures(explainer, trial, reference, samples)
        if figures["ms_per_row"] <= budget_ms:
            return {"samples": samples, **figures}
    return None


def _figures(
    explainer: Explainer, trial: Trial, reference: Attribution | None, samples: int | None = None
) -> dict[str, Any]:
    """Accuracy for all outputs of all rows; time for the requested outputs only. Raises Stopped."""
    seconds = _seconds(explainer, trial, samples)
    limits = Limits(samples=samples, deadline=time.monotonic() + 3 * TIME_LIMIT_S)
    answer = explainer.explain(trial.rows, trial.outputs, limits)
    scale = answer.predictions.abs().amax().clamp_min(1e-300)
    figures: dict[str, Any] = {
        "residual": float(answer.residuals.abs().amax() / scale),
        "distance": None if reference is None else _distance(answer.values, reference.values),
        "ms_per_row": 1e3 * seconds / row_count(trial.rows),
    }
    if answer.standard_errors is not None:
        figures["standard_error"] = float(answer.standard_errors.mean() / answer.values.abs().mean().clamp_min(1e-300))
    return figures


def _seconds(explainer: Explainer, trial: Trial, samples: int | None) -> float:
    """The time for the requested outputs of all rows, one row at a time, as in separate requests. Raises Stopped."""
    began = time.monotonic()
    for row in range(row_count(trial.rows)):
        one = {key: tensor[row : row + 1] for key, tensor in trial.rows.items()}
        limits = Limits(samples=samples, deadline=began + TIME_LIMIT_S)
        explainer.explain(one, trial.outputs[row : row + 1, : trial.requested], limits)
    return time.monotonic() - began


def _distance(values: torch.Tensor, reference: torch.Tensor) -> float:
    """mean |φ − reference| over mean |reference|."""
    difference = (values.double() - reference.double()).abs().mean()
    return float(difference / reference.double().abs().mean().clamp_min(1e-300))
