"""The certificate: measure every method on real rows of a model, and choose the most accurate within the budget."""

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from whyserve.errors import WhyserveError
from whyserve.explain.certificate.trial import TIME_LIMIT_S, Trial, measure, most_samples
from whyserve.explain.game.base import Attribution, Explainer, Inputs, Stopped
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.model.choice import SAMPLING_METHOD, doubt, trials
from whyserve.model.methods import BUDGET_MAX_MS, MEASURED_METHODS

ROWS = 6
REFERENCE_SAMPLES = 64
# The distance of a method that is worth the larger budget.
ACCURATE = 0.1
REFERENCE_SEED = 1_000_003  # differs from the seed of the trials: permutation must not be compared with itself


def certify(
    network: Network,
    background: Inputs,
    players: Players,
    budget_ms: float,
    budget_max_ms: float = BUDGET_MAX_MS,
    *,
    asked: Callable[[np.ndarray], list[list[int]]] | None = None,
    examples: Inputs | None = None,
    methods: Iterable[str] = MEASURED_METHODS,
    on_method: Callable[[str], None] = lambda _: None,
    make: Callable[[str, Network], Explainer] | None = None,
    exact_within_s: float | None = None,
) -> dict[str, Any]:
    """Measure every method on up to ROWS rows of `examples` and `background`.

    asked: the output columns that a request explains by default, from the network's table of the rows. None means all.
    on_method: called with the name of each method before it is measured.
    make: prepares a method for a network, where rows have players or a background of their own.
    exact_within_s: if given, distances are measured against exact values alone, computed within these counted seconds.

    Returns JSON with the keys
    - `methods`: by name, `fits`; if it is false, `why`; otherwise the figures of trial.measure. If a sampling method
      exceeds the budget, `within_budget` has its figures for the number of `samples` that fits. If the best figures are
      not reliable, `within_budget_max` has those of more samples, up to `budget_max_ms`;
    - `device`: where it was measured;
    - `reference`: what the distances are measured against;
    - `default` and `reason`: the chosen method, and why. `samples`, if the choice needs fewer samples than usual.

    No figure but `ms_per_row` depends on a clock, so every machine chooses the same.
    Raises WhyserveError if no method fits or there are too many players, and Stopped if exact values take longer.
    """
    rows = _trial_rows(background, examples or {})
    with torch.no_grad():
        table = network(rows).numpy()
    columns = asked(table) if asked else [list(range(table.shape[1]))] * len(table)
    trial = Trial(network, background, players, rows, torch.tensor(columns), make)
    reference, description = _reference(trial) if exact_within_s is None else _exact(trial, exact_within_s)
    measured = {}
    for name in methods:
        on_method(name)
        measured[name] = measure(name, trial, reference)
    _try_fewer_samples(measured, trial, reference, (budget_ms, budget_max_ms))
    choice = choose_default(measured, budget_ms, budget_max_ms)
    device = next(iter(rows.values())).device.type
    return {"device": device, "reference": description, "rows": row_count(rows), "methods": measured, **choice}


def _try_fewer_samples(
    measured: dict[str, dict[str, Any]], trial: Trial, reference: Attribution | None, budgets_ms: tuple[float, float]
) -> None:
    """Add the figures of the sampling method with fewer samples, if it exceeds a budget with its usual number."""
    sampling, samples = measured[SAMPLING_METHOD], 0
    if not sampling["fits"] or sampling["counted_ms"] > budgets_ms[0]:
        samples = most_samples(SAMPLING_METHOD, trial, budgets_ms[0])
        _add_fewer(measured, "within_budget", measure(SAMPLING_METHOD, trial, reference, samples) if samples else None)
    within = [each for _, each in _within(measured, budgets_ms[0])]
    if within and not doubt(min(within, key=_rank)):
        return
    sampling = measured[SAMPLING_METHOD]
    if not sampling["fits"] or "samples" in sampling or sampling["counted_ms"] > budgets_ms[1]:
        most, figures = most_samples(SAMPLING_METHOD, trial, budgets_ms[1]), None
        while samples < most and (figures is None or not _is_accurate(figures)):
            samples = min(most, max(1, 2 * samples))
            figures = measure(SAMPLING_METHOD, trial, reference, samples)
        _add_fewer(measured, "within_budget_max", figures)


def _add_fewer(measured: dict[str, dict[str, Any]], key: str, figures: dict[str, Any] | None) -> None:
    """If the method does not fit with its usual number of samples, these figures are its own."""
    if figures and figures.pop("fits"):
        sampling = measured[SAMPLING_METHOD]
        measured[SAMPLING_METHOD] = sampling | {key: figures} if sampling["fits"] else {"fits": True, **figures}


def choose_default(
    methods: Mapping[str, Mapping[str, Any]], budget_ms: float, budget_max_ms: float = BUDGET_MAX_MS
) -> dict[str, Any]:
    """Choose the most accurate method within the budget. If it is not reliable, choose the fastest accurate method
    within the larger budget, or else the most accurate one; and the fastest method if none is within that.

    Returns `default`, `reason` (a sentence), and `samples` if the method meets the budget only with that number.
    Raises WhyserveError if no method fits.
    """
    everything = _within(methods, math.inf)
    if not everything:
        raise WhyserveError("; ".join(f"{name}: {figures['why']}" for name, figures in methods.items()))
    within, larger = _within(methods, budget_ms), _within(methods, budget_max_ms)
    best = min(within, key=lambda each: _rank(each[1]), default=None)
    if best and (best[1]["distance"] is None or not doubt(best[1])):
        return _described(best, f"most accurate method within {budget_ms:g} ms per row: ")
    none = f"no method within {budget_ms:g} ms per row is accurate; "
    if accurate := [each for each in larger if _is_accurate(each[1])]:
        fastest = min(accurate, key=lambda each: each[1]["counted_ms"])
        return _described(fastest, f"{none}fastest accurate method within {budget_max_ms:g} ms: ")
    if larger:
        nearest = min(larger, key=lambda each: _rank(each[1]))
        return _described(nearest, f"{none}most accurate method within {budget_max_ms:g} ms: ")
    fastest = min(everything, key=lambda each: each[1]["counted_ms"])
    return _described(fastest, f"no method is within {budget_max_ms:g} ms per row; the fastest method: ")


def _within(methods: Mapping[str, Mapping[str, Any]], budget_ms: float) -> list[tuple[str, Mapping[str, Any]]]:
    """The methods that are within a budget, with each number of samples that was measured."""
    fitting = ((name, each) for name, figures in methods.items() if figures["fits"] for each in trials(figures))
    return [(name, each) for name, each in fitting if each["counted_ms"] <= budget_ms]


def _is_accurate(figures: Mapping[str, Any]) -> bool:
    return figures.get("distance") is not None and figures["distance"] <= ACCURATE and not doubt(figures)


def _described(chosen: tuple[str, Mapping[str, Any]], why: str) -> dict[str, Any]:
    name, figures = chosen
    reason = f"{why}{_describe_distance(figures)}, {figures['counted_ms']:.3g} ms"
    if "samples" not in figures:
        return {"default": name, "reason": reason}
    count = figures["samples"]
    more = f"with {count} {'sample' if count == 1 else 'samples'}; more samples improve it"
    return {"default": name, "reason": f"{reason}, {more}", "samples": count}


def _rank(figures: Mapping[str, Any]) -> tuple[float, float]:
    """Smaller is better: the distance first, then the residual. An unknown distance ranks last."""
    distance = figures["distance"]
    return (math.inf if distance is None else distance, figures["residual"])


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
    with suppress(Stopped, WhyserveError):
        return _exact(trial, TIME_LIMIT_S)
    count = trial.count
    try:
        method = trial.prepare(SAMPLING_METHOD)
        with count:
            sampled = trial.explain(method, count.limits(3 * TIME_LIMIT_S, REFERENCE_SAMPLES, REFERENCE_SEED))
    except (Stopped, WhyserveError):
        return None, f"none: {trial.players.count} players are too many for exact enumeration and for sampling"
    assert sampled.standard_errors is not None, "permutation reports standard errors"
    error = float(sampled.standard_errors.abs().mean() / sampled.values.abs().mean().clamp_min(1e-300))
    return sampled, f"permutation with {REFERENCE_SAMPLES} samples, relative standard error {error:.2g}"


def _exact(trial: Trial, seconds: float) -> tuple[Attribution, str]:
    """Exact values and their description. Raises Stopped after so many counted seconds, WhyserveError."""
    with trial.count as count:
        return trial.explain(trial.prepare("exact"), count.limits(seconds)), "exact enumeration"
