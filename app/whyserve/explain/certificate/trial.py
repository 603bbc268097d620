"""Measure one explanation method on real rows of a model: residual, distance to the reference, work and time."""

import time
from dataclasses import dataclass, field
from typing import Any

import torch

from whyserve.errors import WhyserveError
from whyserve.explain.certificate.counting import Count
from whyserve.explain.game.base import Attribution, Explainer, Inputs, Limits, Stopped
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.registry import EXPLAINERS

# Counted seconds that one method may take for all trial rows. A slower method is not offered.
TIME_LIMIT_S = 20.0
# The share of the budget that a reduced number of samples leaves unused: the work varies from row to row.
MARGIN = 0.1
# The clock runs for so many rows. It shows the time of this machine, and decides nothing.
TIMED_ROWS = 3
# A smaller effect, as a share of the output's scale, counts as this share: its residual is rounding.
LEAST_EFFECT = 1e-4
TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Trial:
    """What every method is measured on.

    rows: R real rows of the model.
    outputs: (R, K), the output columns that a request explains by default.
    count: counts the work of all methods.
    """

    network: Network
    background: Inputs
    players: Players
    rows: Inputs
    outputs: torch.Tensor
    count: Count = field(default_factory=Count)

    def prepare(self, method: str) -> Explainer:
        return EXPLAINERS[method](self.count.of(self.network), self.background, self.players)

    def explain_one(self, explainer: Explainer, row: int, limits: Limits) -> Attribution:
        """The explanation of one row alone, as in a request."""
        return explainer.explain(
            {name: x[row : row + 1] for name, x in self.rows.items()}, self.outputs[row : row + 1], limits
        )

    def counted_s(self, explainer: Explainer, samples: int) -> float:
        """The counted seconds of the first row."""
        before = self.count.seconds
        with self.count:
            self.explain_one(explainer, 0, self.count.limits(TIME_LIMIT_S, samples))
        return self.count.seconds - before


def measure(name: str, trial: Trial, reference: Attribution | None, samples: int | None = None) -> dict[str, Any]:
    """The figures of one method: `fits` with what was measured, or `fits: false` with the reason `why`."""
    try:
        figures = _figures(trial.prepare(name), trial, reference, samples)
    except Stopped:
        return {"fits": False, "why": f"takes more than {TIME_LIMIT_S:.0f} s with {trial.players.count} players"}
    except WhyserveError as error:
        return {"fits": False, "why": error.message}
    if figures["residual_of_effect"] > 1:
        times = f"{figures['residual_of_effect']:.2g} times the effect"
        return {"fits": False, "why": f"on rows of the model, its attributions leave a residual of {times}"}
    return {"fits": True, **figures}


def most_samples(name: str, trial: Trial, budget_ms: float) -> int:
    """The largest number of samples of a sampling method that is within the budget; 0 if one sample exceeds it."""
    try:
        explainer = trial.prepare(name)
        allowed_s = (1 - MARGIN) * budget_ms / 1e3
        trial.counted_s(explainer, 1)  # fills the caches
        samples = int(allowed_s / trial.counted_s(explainer, 1))
        while samples and (needed_s := trial.counted_s(explainer, samples)) > allowed_s:
            samples = min(samples - 1, int(samples * allowed_s / needed_s))
    except (Stopped, WhyserveError):
        return 0
    return samples


def _figures(explainer: Explainer, trial: Trial, reference: Attribution | None, samples: int | None) -> dict[str, Any]:
    """Raises Stopped if the counted work exceeds TIME_LIMIT_S."""
    count, rows = trial.count, row_count(trial.rows)
    with count:
        limits = count.limits(TIME_LIMIT_S, samples)
        trial.explain_one(explainer, 0, limits)  # fills the caches, and finds early that a method is too slow
        before, limits = count.seconds, count.limits(TIME_LIMIT_S, samples)
        found = [trial.explain_one(explainer, row, limits) for row in range(rows)]
        counted_s = count.seconds - before
    if not all(each.complete for each in found):
        raise Stopped
    began, timed = time.monotonic(), min(rows, TIMED_ROWS)
    for row in range(timed):
        trial.explain_one(explainer, row, Limits(samples=samples))
    measured_s = time.monotonic() - began
    values, residuals = torch.cat([x.values for x in found]), torch.cat([x.residuals for x in found])
    predictions, base = torch.cat([x.predictions for x in found]), torch.cat([x.base_values for x in found])
    scale = float(predictions.abs().amax().clamp_min(TINY))
    residual, effect = float(residuals.abs().amax()), float((predictions - base).abs().amax())
    figures: dict[str, Any] = {
        "residual": residual / scale,
        "residual_of_effect": residual / max(effect, LEAST_EFFECT * scale),
        "distance": None if reference is None else _distance(values, reference.values),
        "counted_ms": 1e3 * counted_s / rows,
        "ms_per_row": 1e3 * measured_s / timed,
    }
    errors = [x.standard_errors for x in found if x.standard_errors is not None]
    if errors:
        figures["standard_error"] = float(torch.cat(errors).mean() / values.abs().mean().clamp_min(TINY))
    return figures if samples is None else {"samples": samples, **figures}


def _distance(values: torch.Tensor, reference: torch.Tensor) -> float:
    """mean |φ − reference| over mean |reference|."""
    difference = (values.double() - reference.double()).abs().mean()
    return float(difference / reference.double().abs().mean().clamp_min(TINY))
