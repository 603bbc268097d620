"""One method tried on real rows of a model, and what came of it."""

import time
from dataclasses import dataclass
from typing import Any

import torch

from whyserve.errors import WhyserveError
from whyserve.explain.game.base import Attribution, Explainer, Inputs, Limits, Stopped
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.registry import EXPLAINERS

# Seconds that one method may take for all its trial rows before it is called too slow to offer.
PATIENCE_S = 20.0
# Fewer samples are to leave this part of the budget free: times differ from one row to the next.
SPARE = 0.1


@dataclass(frozen=True, slots=True)
class Trial:
    """What every method is tried on. rows: real ones. wanted: (R, K), every column. asked: as many are timed."""

    network: Network
    background: Inputs
    players: Players
    rows: Inputs
    wanted: torch.Tensor
    asked: int

    def prepare(self, method: str) -> Explainer:
        return EXPLAINERS[method](self.network, self.background, self.players)


def tried(name: str, trial: Trial, reference: Attribution | None) -> dict[str, Any]:
    """`fits`, and `why` not; or what was measured."""
    try:
        explainer = trial.prepare(name)
        first = {key: tensor[:1] for key, tensor in trial.rows.items()}
        # The first call pays for set-up, and shows early what would take too long.
        explainer.explain(first, trial.wanted[:1, : trial.asked], Limits(deadline=time.monotonic() + PATIENCE_S))
        return {"fits": True, **_figures(explainer, trial, reference)}
    except Stopped:
        return {"fits": False, "why": f"takes more than {PATIENCE_S:.0f} s a row of {trial.players.count} players"}
    except WhyserveError as error:
        return {"fits": False, "why": error.message}


def with_fewer_samples(
    name: str, trial: Trial, reference: Attribution | None, budget_ms: float
) -> dict[str, Any] | None:
    """What a sampling method gives with as many samples as the budget has time for; None where that is not one."""
    explainer = trial.prepare(name)
    one = _seconds(explainer, trial, 1) / row_count(trial.rows)
    for samples in range(int((1 - SPARE) * budget_ms / (1e3 * one)), 0, -1):
        figures = _figures(explainer, trial, reference, samples)
        if figures["ms_per_row"] <= budget_ms:
            return {"samples": samples, **figures}
    return None


def _figures(
    explainer: Explainer, trial: Trial, reference: Attribution | None, samples: int | None = None
) -> dict[str, Any]:
    """All outputs of all rows, but for the time, which is for those asked for. Raises Stopped."""
    seconds = _seconds(explainer, trial, samples)
    limits = Limits(samples=samples, deadline=time.monotonic() + 3 * PATIENCE_S)
    answer = explainer.explain(trial.rows, trial.wanted, limits)
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
    """What the outputs asked for take, row by row as single requests would be. Raises Stopped."""
    began = time.monotonic()
    for row in range(row_count(trial.rows)):
        one = {key: tensor[row : row + 1] for key, tensor in trial.rows.items()}
        limits = Limits(samples=samples, deadline=began + PATIENCE_S)
        explainer.explain(one, trial.wanted[row : row + 1, : trial.asked], limits)
    return time.monotonic() - began


def _distance(values: torch.Tensor, reference: torch.Tensor) -> float:
    """mean |φ − reference| over mean |reference|."""
    gap = (values.double() - reference.double()).abs().mean()
    return float(gap / reference.double().abs().mean().clamp_min(1e-300))
