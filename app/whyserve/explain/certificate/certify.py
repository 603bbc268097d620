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
from whyserve.model.choice import SAMPLING_METHOD, SET_IN_SPEC, doubt, trials
from whyserve.model.methods import BUDGET_MAX_MS, MEASURED_METHODS

ROWS = 6
# Rows and samples of a reference by sampling: the first one that takes little enough time.
REFERENCES = ((ROWS, 64), (1, 48), (1, 16))
# Where a method that is near enough will do: the most samples to try, and the share of the distance that they may
# have, because other rows may be farther than those of the certificate.
MOST_FEW, SAFE = 9, 0.5
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
    near: float | None = None,
    chosen: tuple[str, int | None] | None = None,
) -> dict[str, Any]:
    """Measure every method on up to ROWS rows of `examples` and `background`.

    asked: the output columns that a request explains by default, from the network's table of the rows. None means all.
    on_method: called with the name of each method before it is measured.
    make: prepares a method for a network, where rows have players or a background of their own.
    exact_within_s: if given, distances are measured against exact values alone, computed within these counted seconds.
    near: if given, a method this near to the reference is accurate enough, and the fastest one is chosen.
    chosen: the method of model.toml and its samples, if it names one.

    Returns JSON with the keys
    - `methods`: by name, `fits`; if it is false, `why`; otherwise the figures of trial.measure. If a sampling method
      exceeds the budget, `within_budget` has its figures for the number of `samples` that fits, or for the fewest that
      are near enough. If the best figures are not reliable, `within_budget_max` has those of more samples, up to
      `budget_max_ms`;
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
    if exact_within_s is None:
        trial, reference, description = _reference(trial)
    else:
        reference, description = _exact(trial, exact_within_s)
    measured = {}
    for name in methods:
        on_method(name)
        measured[name] = measure(name, trial, reference, chosen[1] if chosen and chosen[0] == name else None)
    _try_fewer_samples(measured, trial, reference, (budget_ms, budget_max_ms), near)
    choice = choose_default(measured, budget_ms, budget_max_ms, near)
    if chosen and measured[chosen[0]]["fits"]:
        choice = {"default": chosen[0], "reason": SET_IN_SPEC, **({"samples": chosen[1]} if chosen[1] else {})}
    device = next(iter(rows.values())).device.type
    return {"device": device, "reference": description, "rows": row_count(trial.rows), "methods": measured, **choice}


def _try_fewer_samples(
    measured: dict[str, dict[str, Any]],
    trial: Trial,
    reference: Attribution | None,
    budgets_ms: tuple[float, float],
    near: float | None,
) -> None:
    """Add the figures of the sampling method with fewer samples, if it exceeds a budget with its usual number, or if
    fewer are near enough.
    """
    sampling, samples = measured[SAMPLING_METHOD], 0
    if "samples" in sampling:
        return  # model.toml says how many
    if not sampling["fits"] or sampling["counted_ms"] > budgets_ms[0]:
        samples = most_samples(SAMPLING_METHOD, trial, budgets_ms[0])
        _add_fewer(measured, "within_budget", measure(SAMPLING_METHOD, trial, reference, samples) if samples else None)
    elif near is not None:
        few = _fewest(trial, reference, SAFE * near, 0, MOST_FEW)
        _add_fewer(measured, "within_budget", few if few and _is_near(few, near) else None)
    within = [each for _, each in _within(measured, budgets_ms[0])]
    if within and not doubt(min(within, key=_rank)):
        return
    sampling = measured[SAMPLING_METHOD]
    if not sampling["fits"] or "samples" in sampling or sampling["counted_ms"] > budgets_ms[1]:
        most = most_samples(SAMPLING_METHOD, trial, budgets_ms[1])
        _add_fewer(measured, "within_budget_max", _fewest(trial, reference, ACCURATE, samples, most))


def _fewest(
    trial: Trial, reference: Attribution | None, distance: float, samples: int, most: int
) -> dict[str, Any] | None:
    """The figures with the fewest samples, more than `samples`, that are near enough; if none are, with `most`."""
    figures = None
    while samples < most and not (figures and _is_near(figures, distance)):
        samples = min(most, samples + max(1, samples // 2))
        figures = measure(SAMPLING_METHOD, trial, reference, samples)
    return figures


def _add_fewer(measured: dict[str, dict[str, Any]], key: str, figures: dict[str, Any] | None) -> None:
    """If the method does not fit with its usual number of samples, these figures are its own."""
    if figures and figures.pop("fits"):
        sampling = measured[SAMPLING_METHOD]
        measured[SAMPLING_METHOD] = sampling | {key: figures} if sampling["fits"] else {"fits": True, **figures}


def choose_default(
    methods: Mapping[str, Mapping[str, Any]],
    budget_ms: float,
    budget_max_ms: float = BUDGET_MAX_MS,
    near: float | None = None,
) -> dict[str, Any]:
    """Choose the most accurate method within the budget. If it is not reliable, choose the fastest accurate method
    within the larger budget, or else the most accurate one; and the fastest method if none is within that.
    near: a method within the budget and this near to the reference is accurate enough: choose the fastest one.

    Returns `default`, `reason` (a sentence), and `samples` if the method meets the budget only with that number.
    Raises WhyserveError if no method fits.
    """
    everything = _within(methods, math.inf)
    if not everything:
        raise WhyserveError("; ".join(f"{name}: {figures['why']}" for name, figures in methods.items()))
    within, larger = _within(methods, budget_ms), _within(methods, budget_max_ms)
    if enough := [each for each in within if near is not None and _is_near(each[1], near)]:
        fastest = min(enough, key=lambda each: each[1]["counted_ms"])
        return _described(fastest, f"fastest method within {near:.0%} of the reference: ")
    best = min(within, key=lambda each: _rank(each[1]), default=None)
    if best and (best[1]["distance"] is None or not doubt(best[1])):
        return _described(best, f"most accurate method within {budget_ms:g} ms per row: ")
    none = f"no method within {budget_ms:g} ms per row is accurate; "
    if accurate := [each for each in larger if _is_near(each[1], ACCURATE)]:
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


def _is_near(figures: Mapping[str, Any], distance: float) -> bool:
    """Whether figures are reliable and at most so far from the reference."""
    return figures.get("distance") is not None and figures["distance"] <= distance and not doubt(figures)


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


def _reference(trial: Trial) -> tuple[Trial, Attribution | None, str]:
    """The trial with the rows to measure, the attributions that distances are measured against, their description.

    Exact enumeration if it finishes in time, otherwise permutation sampling with many samples, otherwise None.
    """
    with suppress(Stopped, WhyserveError):
        return trial, *_exact(trial, TIME_LIMIT_S)
    for rows, samples in REFERENCES:
        count, fewer = trial.count, trial.first(rows)
        try:
            method = trial.prepare(SAMPLING_METHOD)
            with count:
                sampled = fewer.explain(method, count.limits(3 * TIME_LIMIT_S, samples, REFERENCE_SEED))
        except Stopped:
            continue
        except WhyserveError:
            break
        assert sampled.standard_errors is not None, "permutation reports standard errors"
        error = float(sampled.standard_errors.abs().mean() / sampled.values.abs().mean().clamp_min(1e-300))
        return fewer, sampled, f"permutation with {samples} samples, relative standard error {error:.2g}"
    return trial, None, f"none: {trial.players.count} players are too many for exact enumeration and for sampling"


def _exact(trial: Trial, seconds: float) -> tuple[Attribution, str]:
    """Exact values and their description. Raises Stopped after so many counted seconds, WhyserveError."""
    with trial.count as count:
        return trial.explain(trial.prepare("exact"), count.limits(seconds)), "exact enumeration"
