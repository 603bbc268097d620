"""permutation beside shapiq's approximators, each given the same number of network rows, on the shipped networks."""

import logging
import warnings
from pathlib import Path

from benchmarks.pages import put, table
from tests.explain.approximators import APPROXIMATORS, Contest, contest

MODELS = ("breast_cancer", "wine", "penguins", "sunspots")
SAMPLES = (1, 2, 4, 8)
SEEDS = 5


def main() -> None:
    logging.disable(logging.WARNING)
    lines = []
    for name in MODELS:
        held = contest(Path("artifacts"), name)
        for samples in SAMPLES:
            lines.append([name, str(held.players), str(samples), *figures(held, samples)])
            print(*lines[-1], flush=True)
    heads = ["model", "players", "samples", "network rows per instance", "permutation", *APPROXIMATORS]
    put("distances.md", "approximators", table(heads, lines))


def figures(held: Contest, samples: int) -> list[str]:
    ours, spent = held.ours(samples, range(SEEDS))
    theirs = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in APPROXIMATORS:
            theirs[name] = held.theirs(name, spent, range(SEEDS))
    nearest = min(ours, *(d for d in theirs.values() if d is not None))
    shown = [ours, *theirs.values()]
    return [
        f"{spent * held.background:,}",
        *("–" if d is None else f"**{d:.3f}**" if d == nearest else f"{d:.3f}" for d in shown),
    ]
