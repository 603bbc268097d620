"""The certificate: each method tried on real rows of a model, measured, and the truest within the budget chosen."""

import time
from collections.abc import Mapping
from typing import Any

import torch

from whyserve.errors import WhyserveError
from whyserve.explain.certificate.trial import PATIENCE_S, Trial, tried, with_fewer_samples
from whyserve.explain.game.base import Attribution, Inputs, Limits, Stopped
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.exact import MOST_PLAYERS
from whyserve.explain.methods.registry import EXPLAINERS

ROWS = 6
REFERENCE_SAMPLES = 64
SAMPLED = "permutation"  # which is true with few samples too, and says how true
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
    to; `default` and the `reason` for it, and `samples` where it is to take fewer than its own. A sampling method
    that is beyond the budget has the same figures `within_budget`, for as many `samples` as it has time for.
    """
    rows = _trial_rows(background, examples or {})
    wanted = torch.arange(columns).expand(row_count(rows), columns)
    trial = Trial(network, background, players, rows, wanted, asked or columns)
    reference, description = _reference(trial)
    methods = {name: tried(name, trial, reference) for name in EXPLAINERS}
    sampled = methods[SAMPLED]
    if sampled["fits"] and sampled["ms_per_row"] > budget_ms:
        fewer = with_fewer_samples(SAMPLED, trial, reference, budget_ms)
        sampled |= {} if fewer is None else {"within_budget": fewer}
    chosen = choose_default(methods, budget_ms)
    return {"reference": description, "rows": row_count(rows), "methods": methods, **chosen}


def choose_default(methods: Mapping[str, Mapping[str, Any]], budget_ms: float) -> dict[str, Any]:
    """`default`, the truest method within the budget, or the quickest where none is; the `reason` in words.

    And `samples`, where it is within the budget with no more than these.
    """
    fitting = {name: figures for name, figures in methods.items() if figures["fits"]}
    if not fitting:
        raise WhyserveError("; ".join(f"{name}: {figures['why']}" for name, figures in methods.items()))
    best = {name: figures.get("within_budget", figures) for name, figures in fitting.items()}
    within = [name for name, figures in best.items() if figures["ms_per_row"] <= budget_ms]
    if not within:
        quickest = min(best, key=lambda name: float(best[name]["ms_per_row"]))
        took = best[quickest]["ms_per_row"]
        reason = f"no method is within {budget_ms:g} ms a row; this one, the quickest, takes {took:.3g} ms"
        return {"default": quickest, "reason": reason}
    default = min(within, key=lambda name: _rank(best[name]))
    figures = best[default]
    how = f"{_distance_words(figures)}, {figures['ms_per_row']:.3g} ms"
    reason = f"the truest within {budget_ms:g} ms a row: {how}"
    if "samples" not in figures:
        return {"default": default, "reason": reason}
    count = figures["samples"]
    return {
        "default": default,
        "reason": f"{reason}, with {count} {'sample' if count == 1 else 'samples'}; more come nearer",
        "samples": count,
    }


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


def _reference(trial: Trial) -> tuple[Attribution | None, str]:
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
