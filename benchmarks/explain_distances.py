"""Distance to exact enumeration and time per row of every method, ours and others, on zoo networks with few players."""

import time
import warnings
from collections.abc import Callable

import numpy as np
import shap
import torch

from benchmarks.pages import put, table
from tests.explain import rivals
from tests.explain.zoo.case import Case
from tests.explain.zoo.examined import Examined, examine
from tests.explain.zoo.networks import FEW
from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import row_count
from whyserve.explain.methods.registry import EXPLAINERS

OURS = ("permutation", "deep", "gradient", "kernel")
PERMUTATIONS = 10  # the default of shap.PermutationExplainer
Figures = tuple[float, float] | None
"""Distance, and milliseconds per row; None if the explainer refuses the network."""


def main() -> None:
    heads = ["network", "players", *OURS, *rivals.RIVALS, "shap.PermutationExplainer"]
    lines, totals = [], {name: [0, 0.0] for name in heads[2:]}
    for case in FEW:
        examined = examine(case.name)
        found = {name: ours(name, examined, case) for name in OURS}
        found |= {name: others(name, examined, case) for name in rivals.RIVALS}
        found["shap.PermutationExplainer"] = permutations(examined, case)
        for name, each in found.items():
            if each is not None:
                totals[name][0] += 1
                totals[name][1] += np.log(max(each[0], 1e-6))
        lines.append([case.name, str(case.players.count), *map(cell, found.values())])
        print(*lines[-1], flush=True)
    means = [f"**{np.exp(total / count):.2g}** of {count}" for count, total in totals.values()]
    put("distances.md", "distances", table(heads, [*lines, ["geometric mean", "", *means]]))


def cell(figures: Figures) -> str:
    return "refused" if figures is None else f"{figures[0]:.2g} · {figures[1]:.2g} ms"


def timed(examined: Examined, explain: Callable[[], torch.Tensor | None]) -> Figures:
    began = time.perf_counter()
    values = explain()
    took = 1e3 * (time.perf_counter() - began) / row_count(examined.rows)
    return None if values is None else (examined.distance(values), took)


def ours(name: str, examined: Examined, case: Case) -> Figures:
    try:
        method = EXPLAINERS[name](case.network(), examined.background, case.players)
        method.explain(examined.rows, examined.wanted, Limits())
    except Exception:
        return None
    return timed(examined, lambda: method.explain(examined.rows, examined.wanted, Limits()).values)


def others(name: str, examined: Examined, case: Case) -> Figures:
    """Each call builds a new explainer: these packages cache nothing of the background between calls."""
    outputs = examined.wanted.shape[1]

    def answer() -> torch.Tensor | None:
        return rivals.answers(name, case.network(), examined.background, examined.rows, case.players, outputs=outputs)

    return timed(examined, answer) if answer() is not None else None


def permutations(examined: Examined, case: Case) -> Figures:
    """shap.PermutationExplainer on the game of players: it accepts tables only, so every coalition is a row."""
    network, players = case.network(), case.players
    rows = row_count(examined.background)

    def answer() -> torch.Tensor:
        found = []
        for number in range(row_count(examined.rows)):
            row = {name: x[number : number + 1] for name, x in examined.rows.items()}

            def game(present: np.ndarray, row: dict[str, torch.Tensor] = row) -> np.ndarray:
                """The values of n coalitions, (n, players) of 0 and 1 → (n, outputs)."""
                mask = torch.from_numpy(np.asarray(present)) > 0.5
                mixed = {
                    name: torch.where(
                        mask[:, players.membership[name]].unsqueeze(1), x.unsqueeze(1), examined.background[name]
                    ).flatten(0, 1)
                    for name, x in row.items()
                }
                with torch.no_grad():
                    return network(mixed).double().view(len(mask), rows, -1).mean(1).numpy()

            explainer = shap.PermutationExplainer(game, np.zeros((1, players.count)), seed=0)
            evaluations = PERMUTATIONS * (2 * players.count + 1)
            values = explainer(np.ones((1, players.count)), max_evals=evaluations, silent=True).values[0]
            found.append(torch.from_numpy(values.reshape(players.count, -1)).T)
        return torch.stack(found)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return timed(examined, answer)
