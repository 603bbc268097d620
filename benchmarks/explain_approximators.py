"""Compare permutation with shapiq's approximators on the shipped networks, at the same number of network rows."""

import logging
import warnings
from pathlib import Path

from benchmarks.pages import put, table
from tests.explain.approximators import APPROXIMATORS, Comparison, comparison
from whyserve.explain.methods.permutation.permutation import evaluates_all

MODELS = ("breast_cancer", "wine", "penguins", "sunspots")
SAMPLES = (1, 2, 4, 8)
SEEDS = 5


def main() -> None:
    logging.disable(logging.WARNING)
    lines = []
    for name in MODELS:
        compared = comparison(Path("artifacts"), name)
        for samples in SAMPLES:
            if evaluates_all(compared.players, samples * (compared.players - 1)):
                continue
            lines.append([name, str(compared.players), str(samples), *figures(compared, samples)])
            print(*lines[-1], flush=True)
    heads = ["model", "players", "samples", "network rows per instance", "permutation", *APPROXIMATORS]
    put("distances.md", "approximators", table(heads, lines))


def figures(compared: Comparison, samples: int) -> list[str]:
    ours, spent = compared.ours(samples, range(SEEDS))
    theirs = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in APPROXIMATORS:
            # The empty and the full coalition cost us nothing, so they are not counted for anyone.
            theirs[name] = compared.theirs(name, spent + 2, range(SEEDS))
    best = min(ours, *(d for d in theirs.values() if d is not None))
    distances = [ours, *theirs.values()]
    return [
        f"{spent * compared.background:,}",
        *("–" if d is None else f"**{d:.3f}**" if d == best else f"{d:.3f}" for d in distances),
    ]
