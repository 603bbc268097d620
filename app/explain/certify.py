"""The certificate: each method tried on real rows of a model, measured, and the truest within the budget chosen."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from app.errors import WhyserveError
from app.explain.attribution import Attribution, Explainer, Inputs, Limits, Stopped
from app.explain.exact import MOST_PLAYERS
from app.explain.methods import METHODS
from app.explain.network import Network, row_count
from app.explain.players import Players

ROWS = 6
REFERENCE_SAMPLES = 64
# Seconds that one method may take for all its trial rows before it is called too slow to offer.
PATIENCE_S = 20.0
REFERENCE_SEED = 1_000_003  # not the seed of any trial, so that walks are not held against themselves


def certify(
    network: Network,
    background: Inputs,
    players: Players,
    columns: int,
    budget_ms: float,
    *,
    asked: int | None = None,
    examples: Inputs | None = None,
) -> dict[str, Any]:
    """Try every method on rows of the background, and before them of examples, all outputs wanted.

    asked: how many outputs a request explains that does not say which, all if left out; the times are for these.
    Gives JSON: `methods` by name, each with `fits` and either `why` not, or residual and distance (both as shares:
    of the output's scale, and of the mean size of an attribution), and ms_per_row; `reference`, what distances are
    to; `default` and the `reason` for it.
    """
    rows = _trial_rows(background, examples or {})
    wanted = torch.arange(columns).expand(row_count(rows), columns)
    trial = _Trial(network, background, players, rows, wanted, asked or columns)
    reference, description = _reference(trial)
    methods = {name: _try(name, trial, reference) for name in METHODS}
    default, reason = choose_default(methods, budget_ms)
    return {"reference": description, "rows": row_count(rows), "methods": methods, "default": default, "reason": reason}


@dataclass(frozen=True, slots=True)
class _Trial:
    """What every method is tried on. rows: real ones. wanted: (R, K), every column. asked: as many are timed."""

    network: Network
    background: Inputs
    players: Players
    rows: Inputs
    wanted: torch.Tensor
    asked: int

    def prepare(self, method: str) -> Explainer:
        return METHODS[method](self.network, self.background, self.players)


def choose_default(methods: Mapping[str, Mapping[str, Any]], budget_ms: float) -> tuple[str, str]:
    """The truest method within the budget, or the quickest where none is; and the reason in words."""
    fitting = {name: figures for name, figures in methods.items() if figures["fits"]}
    if not fitting:
        raise WhyserveError("; ".join(f"{name}: {figures['why']}" for name, figures in methods.items()))
    within = [name for name, figures in fitting.items() if figures["ms_per_row"] <= budget_ms]
    if not within:
        quickest = min(fitting, key=lambda name: float(fitting[name]["ms_per_row"]))
        took = fitting[quickest]["ms_per_row"]
        return quickest, f"no method is within {budget_ms:g} ms a row; this one, the quickest, takes {took:.3g} ms"
    best = min(within, key=lambda name: _rank(fitting[name]))
    took = fitting[best]["ms_per_row"]
    return best, f"the truest within {budget_ms:g} ms a row: {_distance_words(fitting[best])}, {took:.3g} ms"


def _rank(figures: Mapping[str, Any]) -> tuple[float, float]:
    distance = figures["distance"]
    return (float("inf") if distance is None else distance, figures["residual"])


def _distance_words(figures: Mapping[str, Any]) -> str:
    distance = figures["distance"]
    if distance is None:
        return "distance not known"
    return f"{distance:.1%} from the reference" if distance else "exact"


def _trial_rows(background: Inputs, examples: Inputs) -> dict[str, torch.Tensor]:
    """Up to ROWS, with at most half of them examples."""
    first = {name: tensor[: ROWS // 2] for name, tensor in examples.items()}
    total, left = row_count(background), ROWS - (row_count(first) if first else 0)
    chosen = torch.linspace(0, total - 1, min(left, total)).long()
    return {
        name: torch.cat([first[name], tensor[chosen]]) if first else tensor[chosen]
        for name, tensor in background.items()
    }


def _reference(trial: _Trial) -> tuple[Attribution | None, str]:
    """What distances are measured to, in words too: enumeration where it ends in time, or a long run of walks."""
    if trial.players.count <= MOST_PLAYERS:
        try:
            limits = Limits(deadline=time.monotonic() + PATIENCE_S)
            return trial.prepare("exact").explain(trial.rows, trial.wanted, limits), "exact enumeration"
        except (Stopped, WhyserveError):
            pass
    try:
        limits = Limits(samples=REFERENCE_SAMPLES, deadline=time.monotonic() + 3 * PATIENCE_S, seed=REFERENCE_SEED)
        long = trial.prepare("permutation").explain(trial.rows, trial.wanted, limits)
    except (Stopped, WhyserveError):
        return None, f"none: {trial.players.count} players are too many to enumerate or to walk"
    assert long.standard_errors is not None, "walks give standard errors"
    error = float(long.standard_errors.abs().mean() / long.values.abs().mean().clamp_min(1e-300))
    return long, f"a long run of walks, itself within {error:.2g} (one standard error)"


def _try(name: str, trial: _Trial, reference: Attribution | None) -> dict[str, Any]:
    try:
        explainer = trial.prepare(name)
        first = {key: tensor[:1] for key, tensor in trial.rows.items()}
        # The first call pays for set-up, and shows early what would take too long.
        explainer.explain(first, trial.wanted[:1, : trial.asked], Limits(deadline=time.monotonic() + PATIENCE_S))
        answer, seconds = _timed(explainer, trial)
    except Stopped:
        return {"fits": False, "why": f"takes more than {PATIENCE_S:.0f} s a row of {trial.players.count} players"}
    except WhyserveError as error:
        return {"fits": False, "why": error.message}
    scale = answer.predictions.abs().amax().clamp_min(1e-300)
    figures: dict[str, Any] = {
        "fits": True,
        "residual": float(answer.residuals.abs().amax() / scale),
        "distance": None if reference is None else _distance(answer.values, reference.values),
        "ms_per_row": 1e3 * seconds / row_count(trial.rows),
    }
    if answer.standard_errors is not None:
        figures["standard_error"] = float(answer.standard_errors.mean() / answer.values.abs().mean().clamp_min(1e-300))
    return figures


def _timed(explainer: Explainer, trial: _Trial) -> tuple[Attribution, float]:
    """All outputs of all rows, and the seconds that the outputs asked for took row by row: as single requests would."""
    began = time.monotonic()
    for row in range(row_count(trial.rows)):
        one = {key: tensor[row : row + 1] for key, tensor in trial.rows.items()}
        explainer.explain(one, trial.wanted[row : row + 1, : trial.asked], Limits(deadline=began + PATIENCE_S))
    seconds = time.monotonic() - began
    return explainer.explain(trial.rows, trial.wanted, Limits(deadline=time.monotonic() + 3 * PATIENCE_S)), seconds


def _distance(values: torch.Tensor, reference: torch.Tensor) -> float:
    """mean |φ − reference| over mean |reference|."""
    gap = (values.double() - reference.double()).abs().mean()
    return float(gap / reference.double().abs().mean().clamp_min(1e-300))
