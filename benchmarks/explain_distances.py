"""Every method and rival on every zoo network of few players: distance to enumeration, and time a row."""

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
PERMUTATIONS = 10  # of shap.PermutationExplainer, as its default is
Found = tuple[float, float] | None  # distance, and ms a row


def main() -> None:
    heads = ["network", "players", *OURS, *rivals.RIVALS, "shap.PermutationExplainer"]
    lines, totals = [], {name: [0, 0.0] for name in heads[2:]}
    for case in FEW:
        seen = examine(case.name)
        found = {name: ours(name, seen, case) for name in OURS}
        found |= {name: theirs(name, seen, case) for name in rivals.RIVALS}
        found["shap.PermutationExplainer"] = permutations(seen, case)
        for name, each in found.items():
            if each is not None:
                totals[name][0] += 1
                totals[name][1] += np.log(max(each[0], 1e-6))
        lines.append([case.name, str(case.players.count), *map(words, found.values())])
        print(*lines[-1], flush=True)
    means = [f"**{np.exp(total / count):.2g}** of {count}" for count, total in totals.values()]
    put("distances.md", "distances", table(heads, [*lines, ["geometric mean", "", *means]]))


def words(found: Found) -> str:
    return "refused" if found is None else f"{found[0]:.2g} · {found[1]:.2g} ms"


def timed(seen: Examined, answer: Callable[[], torch.Tensor | None]) -> Found:
    began = time.perf_counter()
    values = answer()
    took = 1e3 * (time.perf_counter() - began) / row_count(seen.rows)
    return None if values is None else (seen.distance(values), took)


def ours(name: str, seen: Examined, case: Case) -> Found:
    try:
        method = EXPLAINERS[name](case.network(), seen.background, case.players)
        method.explain(seen.rows, seen.wanted, Limits())
    except Exception:
        return None
    return timed(seen, lambda: method.explain(seen.rows, seen.wanted, Limits()).values)


def theirs(name: str, seen: Examined, case: Case) -> Found:
    """Their explainers are made for each call: they keep nothing of the background between two."""
    outputs = seen.wanted.shape[1]

    def answer() -> torch.Tensor | None:
        return rivals.answers(name, case.network(), seen.background, seen.rows, case.players, outputs=outputs)

    return timed(seen, answer) if answer() is not None else None


def permutations(seen: Examined, case: Case) -> Found:
    """shap.PermutationExplainer on the game of players: it takes tables only, and here every network is one."""
    network, players = case.network(), case.players
    rows = row_count(seen.background)

    def answer() -> torch.Tensor:
        found = []
        for at in range(row_count(seen.rows)):
            row = {name: x[at : at + 1] for name, x in seen.rows.items()}

            def game(present: np.ndarray, row: dict[str, torch.Tensor] = row) -> np.ndarray:
                """(n, players) of 0 and 1 → (n, outputs), the mean over the background."""
                mask = torch.from_numpy(np.asarray(present)) > 0.5
                mixed = {
                    name: torch.where(
                        mask[:, players.membership[name]].unsqueeze(1), x.unsqueeze(1), seen.background[name]
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
        return timed(seen, answer)
