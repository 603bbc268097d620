"""Measure one explanation method on real rows of a model: residual, distance to the reference, work and time."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from whyserve.errors import WhyserveError
from whyserve.explain.certificate.counting import PER_SECOND, Count
from whyserve.explain.game.base import Attribution, Explainer, Inputs, Limits, Stopped, row_by_row
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.registry import EXPLAINERS

# Counted seconds that one method may take for all trial rows. A slower method is not offered.
TIME_LIMIT_S = 20.0
# The share of the budget that a reduced number of samples leaves unused: the work varies from row to row.
MARGIN = 0.1
# The search for the most samples tries this many times what the last cost suggests, until the budget is exceeded.
GROWTH = 1.2
# The search ends within this part of the largest number, because new designs take time that no row has to pay again.
PRECISION = 16
MOST_SAMPLES = 64
# The clock runs for so many rows. It shows the time of this machine, and decides nothing.
TIMED_ROWS = 3
# A call of so many counted seconds is not repeated: the filling of caches and the counting hardly matter.
LONG_S = 1.0
# A smaller effect, as a share of the output's scale, counts as this share: its residual is rounding.
LEAST_EFFECT = 1e-4
TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Trial:
    """What every method is measured on.

    rows: R real rows of the model.
    outputs: (R, K), the output columns that a request explains by default.
    make: prepares a method by name for a network; None prepares it for `players`.
    count: counts the work of all methods.
    """

    network: Network
    background: Inputs
    players: Players
    rows: Inputs
    outputs: torch.Tensor
    make: Callable[[str, Network], Explainer] | None = None
    count: Count = field(default_factory=Count)

    def prepare(self, method: str) -> Explainer:
        network = self.count.of(self.network)
        if self.make is not None:
            return self.make(method, network)
        return EXPLAINERS[method](network, self.background, self.players)

    def first(self, rows: int) -> "Trial":
        """The same with at most so many rows."""
        some = {name: x[:rows] for name, x in self.rows.items()}
        return replace(self, rows=some, outputs=self.outputs[:rows])

    def explain(self, explainer: Explainer, limits: Limits, rows: int | None = None) -> Attribution:
        """The explanations of the first `rows` rows, each alone, as in a request. Raises Stopped."""
        some = self.rows if rows is None else {name: x[:rows] for name, x in self.rows.items()}
        found = row_by_row(lambda *_: explainer, some, self.outputs[:rows], limits)
        if not found.complete:
            raise Stopped
        return found

    def counted(self, explainer: Explainer, samples: int | None, rows: int) -> tuple[Attribution, float, float]:
        """The explanations of the first rows, and the counted and the measured seconds of this call.

        Raises Stopped if the counted work exceeds TIME_LIMIT_S.
        """
        work, began = self.count.work, time.monotonic()
        with self.count:
            found = self.explain(explainer, self.count.limits(TIME_LIMIT_S, samples), rows)
        return found, (self.count.work - work) / PER_SECOND, time.monotonic() - began

    def counted_s(self, explainer: Explainer, samples: int) -> float:
        """The counted seconds of the first row, after a call that fills the caches."""
        self.counted(explainer, samples, 1)
        return self.counted(explainer, samples, 1)[1]


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
    """The largest number of samples of a sampling method that is within the budget; 0 if one sample exceeds it.

    At most MOST_SAMPLES. From 16 samples on, it may be up to 1/16 smaller.
    """
    allowed_s, most, most_s, samples, over = (1 - MARGIN) * budget_ms / 1e3, 0, 0.0, 1, math.inf
    try:
        explainer = trial.prepare(name)
        while most < samples < over:
            needed_s = trial.counted_s(explainer, samples)
            if needed_s > allowed_s:
                over = samples
            elif needed_s == most_s:
                break  # all coalitions are evaluated: more samples change nothing
            else:
                most, most_s = samples, needed_s
            # Grow until the budget is exceeded, then halve the interval: a row also has costs that do not grow.
            grown = min(MOST_SAMPLES, max(most + 1, int(GROWTH * most * allowed_s / (most_s or allowed_s))))
            samples = grown if over == math.inf else (most + int(over)) // 2
            if over < math.inf and over - most <= over / PRECISION:
                break
    except (Stopped, WhyserveError):
        return 0
    return most


def _figures(explainer: Explainer, trial: Trial, reference: Attribution | None, samples: int | None) -> dict[str, Any]:
    """Raises Stopped if the counted work exceeds TIME_LIMIT_S."""
    rows = timed = row_count(trial.rows)
    # The first call fills the caches, and finds early that a method is too slow.
    answer, counted_s, measured_s = trial.counted(explainer, samples, 1)
    if rows > 1 or counted_s < LONG_S:
        answer, counted_s, measured_s = trial.counted(explainer, samples, rows)
    if counted_s < LONG_S * rows:
        began, timed = time.monotonic(), min(rows, TIMED_ROWS)
        trial.explain(explainer, Limits(samples=samples), timed)
        measured_s = time.monotonic() - began
    scale = float(answer.predictions.abs().amax().clamp_min(TINY))
    residual = float(answer.residuals.abs().amax())
    effect = float((answer.predictions - answer.base_values).abs().amax())
    figures: dict[str, Any] = {
        "residual": residual / scale,
        "residual_of_effect": residual / max(effect, LEAST_EFFECT * scale),
        "distance": None if reference is None else _distance(answer.values, reference.values),
        "counted_ms": 1e3 * counted_s / rows,
        "ms_per_row": 1e3 * measured_s / timed,
    }
    if answer.standard_errors is not None:
        figures["standard_error"] = float(answer.standard_errors.mean() / answer.values.abs().mean().clamp_min(TINY))
    return figures if samples is None else {"samples": samples, **figures}


def _distance(values: torch.Tensor, reference: torch.Tensor) -> float:
    """mean |φ − reference| over mean |reference|."""
    difference = (values.double() - reference.double()).abs().mean()
    return float(difference / reference.double().abs().mean().clamp_min(TINY))
