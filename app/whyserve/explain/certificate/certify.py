"""The certificate: measure every method on real rows of a model, and choose the most accurate within the budget."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from whyserve.errors import WhyserveError
from whyserve.explain.certificate.trial import TIME_LIMIT_S, Trial, measure, measure_fewer_samples
from whyserve.explain.game.base import Attribution, Explainer, Inputs, Limits, Stopped
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.exact import MOST_PLAYERS
from whyserve.explain.methods.registry import EXPLAINERS

ROWS = 6
REFERENCE_SAMPLES = 64
SAMPLING_METHOD = "permutation"  # accurate with few samples too, and it reports a standard error
REFERENCE_SEED = 1_000_003  # differs from the seed of the trials: permutation must not be compared with itself


def certify(
    network: Network,
    background: Inputs,
    players: Players,
    columns: int,
    budget_ms: float,
    *,
    requested: int | None = None,
    examples: Inputs | None = None,
    methods: Iterable[str] = tuple(EXPLAINERS),
    on_method: Callable[[str], None] = lambda _: None,
    make: Callable[[str], Explainer] | None = None,
) -> dict[str, Any]:
    """Measure every method on up to ROWS rows of `examples` and `background`, for all output columns.

    requested: how many outputs a request explains by default; the times are measured for these. None means all.
    on_method: called with the name of each method before it is measured.
    make: prepares a method by name, where rows have players or a background of their own.

    Returns JSON with the keys
    - `methods`: by name, `fits`; if it is false, `why`; otherwise `residual` (as a share of the output's scale),
      `distance` (as a share of the mean attribution), `ms_per_row`, and `standard_error` for a sampling method. If a
      sampling method exceeds the budget, `within_budget` has the same figures for the number of `samples` that fits;
    - `reference`: what the distances are measured against;
    - `default` and `reason`: the chosen method, and why. `samples`, if the choice needs fewer samples than usual.

    Raises WhyserveError if no method fits.
    """
    rows = _trial_rows(background, examples or {})
    outputs = torch.arange(columns).expand(row_count(rows), columns)
    trial = Trial(network, background, players, rows, outputs, requested or columns, make)
    reference, description = _reference(trial)
    measured = {}
    for name in methods:
        on_method(name)
        measured[name] = measure(name, trial, reference)
    sampling = measured[SAMPLING_METHOD]
    if sampling["fits"] and sampling["ms_per_row"] > budget_ms:
        fewer = measure_fewer_samples(SAMPLING_METHOD, trial, reference, budget_ms)
        sampling |= {} if fewer is None else {"within_budget": fewer}
    choice = choose_default(measured, budget_ms)
    return {"reference": description, "rows": row_count(rows), "methods": measured, **choice}


def choose_default(methods: Mapping[str, Mapping[str, Any]], budget_ms: float) -> dict[str, Any]:
    """Choose the most accurate method within the budget, or the fastest method if none is within the budget.

    Returns `default`, `reason` (a sentence), and `samples` if the method meets the budget only with that number.
    Raises WhyserveError if no method fits.
    """
    fitting = {name: figures for name, figures in methods.items() if figures["fits"]}
    if not fitting:
        raise WhyserveError("; ".join(f"{name}: {figures['why']}" for name, figures in methods.items()))
    best = {name: figures.get("within_budget", figures) for name, figures in fitting.items()}
    within = [name for name, figures in best.items() if figures["ms_per_row"] <= budget_ms]
    if not within:
        fastest = min(best, key=lambda name: float(best[name]["ms_per_row"]))
        ms = best[fastest]["ms_per_row"]
        reason = f"no method is within {budget_ms:g} ms per row; the fastest method takes {ms:.3g} ms"
        return {"default": fastest, "reason": reason}
    default = min(within, key=lambda name: _rank(best[name]))
    figures = best[default]
    accuracy = f"{_describe_distance(figures)}, {figures['ms_per_row']:.3g} ms"
    reason = f"most accurate method within {budget_ms:g} ms per row: {accuracy}"
    if "samples" not in figures:
        return {"default": default, "reason": reason}
    count = figures["samples"]
    return {
        "default": default,
        "reason": f"{reason}, with {count} {'sample' if count == 1 else 'samples'}; more samples improve it",
        "samples": count,
    }


def _rank(figures: Mapping[str, Any]) -> tuple[float, float]:
    """Smaller is better: the distance first, then the residual. An unknown distance ranks last."""
    distance = figures["distance"]
    return (float("inf") if distance is None else distance, figures["residual"])


def _describe_distance(figures: Mapping[str, Any]) -> str:
    distance = figures["distance"]
    if distance is None:
        return "distance unknown"
    return f"{distance:.1%} from the reference" if distance else "exact"


def _trial_rows(background: Inputs, examples: Inputs) -> dict[str, torch.Tensor]:
    """Up to ROWS rows: at most half from `examples`, the others evenly spaced in the background."""
    first = {name: tensor[: ROWS // 2] for name, tensor in examples.items()}
    total, remaining = row_count(background), ROWS - (row_count(first) if first else 0)
    numbers = torch.linspace(0, total - 1, min(remaining, total)).long()
    return {
        name: torch.cat([first[name], tensor[numbers]]) if first else tensor[numbers]
        for name, tensor in background.items()
    }


def _reference(trial: Trial) -> tuple[Attribution | None, str]:
    """The attributions that distances are measured against, and their description.

    Exact enumeration if it finishes in time, otherwise permutation sampling with many samples, otherwise None.
    """
    if trial.players.count <= MOST_PLAYERS:
        try:
            limits = Limits(deadline=time.monotonic() + TIME_LIMIT_S)
            return trial.prepare("exact").explain(trial.rows, trial.outputs, limits), "exact enumeration"
        except (Stopped, WhyserveError):
            pass
    try:
        limits = Limits(samples=REFERENCE_SAMPLES, deadline=time.monotonic() + 3 * TIME_LIMIT_S, seed=REFERENCE_SEED)
        sampled = trial.prepare("permutation").explain(trial.rows, trial.outputs, limits)
    except (Stopped, WhyserveError):
        return None, f"none: {trial.players.count} players are too many for exact enumeration and for sampling"
    assert sampled.standard_errors is not None, "permutation reports standard errors"
    error = float(sampled.standard_errors.abs().mean() / sampled.values.abs().mean().clamp_min(1e-300))
    return sampled, f"permutation with {REFERENCE_SAMPLES} samples, relative standard error {error:.2g}"
