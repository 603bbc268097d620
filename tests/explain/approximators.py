"""shapiq's approximators of Shapley values on the shipped networks, with as many network rows as our method."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import shapiq
import torch

from tests.conftest import MODELS
from whyserve.explain.game.base import Inputs, Limits
from whyserve.explain.game.coalitions import background_means
from whyserve.explain.game.evaluation import Progress
from whyserve.explain.game.network import row_count
from whyserve.explain.methods.permutation.permutation import Permutation
from whyserve.explain.models.explainable import load_model
from whyserve.explain.models.row_games import game_players
from whyserve.model.players import Partition


# LeverageSHAP (Musco & Witter 2025) samples all sizes equally often, in pairs.
def _leverage(players: int) -> np.ndarray:
    return np.array([0.0, *np.ones(players - 1), 0.0])


APPROXIMATORS: dict[str, Callable[[int, int], shapiq.Approximator]] = {
    "KernelSHAP": lambda n, seed: shapiq.KernelSHAP(n, random_state=seed),
    "KernelSHAP, paired": lambda n, seed: shapiq.KernelSHAP(n, pairing_trick=True, random_state=seed),
    "LeverageSHAP": lambda n, seed: shapiq.KernelSHAP(
        n, pairing_trick=True, sampling_weights=_leverage(n), random_state=seed
    ),
    "UnbiasedKernelSHAP": lambda n, seed: shapiq.UnbiasedKernelSHAP(n, random_state=seed),
    "PermutationSamplingSV": lambda n, seed: shapiq.PermutationSamplingSV(n, random_state=seed),
    "StratifiedSamplingSV": lambda n, seed: shapiq.StratifiedSamplingSV(n, random_state=seed),
    "OwenSamplingSV": lambda n, seed: shapiq.OwenSamplingSV(n, n_anchor_points=10, random_state=seed),
    "SVARM": lambda n, seed: shapiq.SVARM(n, random_state=seed),
    "KernelSHAPIQ": lambda n, seed: shapiq.KernelSHAPIQ(n, max_order=2, index="SII", random_state=seed),
    "kADDSHAP": lambda n, seed: shapiq.kADDSHAP(n, max_order=2, random_state=seed),
    "ProxySPEX": lambda n, seed: shapiq.ProxySPEX(n, max_order=1, index="SV", random_state=seed),
}
REFERENCE_SAMPLES = 256
ROWS = 3


@dataclass(frozen=True, eq=False)
class Comparison:
    """A network, a few rows, their predicted outputs, and a reference: permutation with many more samples."""

    method: Permutation
    rows: Inputs
    outputs: torch.Tensor
    reference: torch.Tensor

    @property
    def players(self) -> int:
        return self.method.passes.players.count

    @property
    def background(self) -> int:
        return self.method.passes.rows

    def distance(self, values: torch.Tensor) -> float:
        """mean |φ − reference| over mean |reference|. values: (R, P)."""
        return float((values - self.reference).abs().mean() / self.reference.abs().mean())

    def ours(self, samples: int, seeds: Iterable[int]) -> tuple[float, int]:
        """Our mean distance, and the number of coalitions per row: each costs one network row per background row."""
        answers = [self.method.explain(self.rows, self.outputs, Limits(samples=samples, seed=seed)) for seed in seeds]
        spent = answers[0].rows_evaluated / row_count(self.rows) / self.background
        return float(np.mean([self.distance(answer.values[:, 0]) for answer in answers])), round(spent)

    def theirs(self, name: str, budget: int, seeds: Iterable[int]) -> float | None:
        """The mean distance of an approximator; None if it fails, or is not finite, with so few coalitions."""
        found = []
        for seed in seeds:
            try:
                values = torch.stack([self._row(name, budget, at, seed) for at in range(row_count(self.rows))])
            except Exception:
                return None
            found.append(self.distance(values))
        return float(np.mean(found)) if np.isfinite(found).all() else None

    def _row(self, name: str, budget: int, at: int, seed: int) -> torch.Tensor:
        row = {key: x[at : at + 1] for key, x in self.rows.items()}
        progress = Progress(Limits(), 1)
        empty = float(self.method.passes.base_values[self.outputs[at, 0]])

        def game(coalitions: np.ndarray) -> np.ndarray:
            """The value of each coalition; shapiq expects 0 for the empty one."""
            present = torch.from_numpy(np.atleast_2d(coalitions).astype(bool))
            value: np.ndarray = background_means(self.method.passes, present, row, self.outputs[at : at + 1], progress)[
                0, :, 0
            ].numpy()
            return value - empty

        answer = APPROXIMATORS[name](self.players, seed).approximate(budget, game)
        return torch.tensor([answer[(player,)] for player in range(self.players)], dtype=torch.float64)


@cache
def comparison(artifacts: Path, name: str) -> Comparison:
    """A shipped network with rows of its background."""
    model = load_model(MODELS, artifacts / name, 1 << 28)
    rows = {key: x[:: max(1, len(x) // ROWS)][:ROWS] for key, x in model.background.items()}
    method = Permutation(
        model.network, model.background, game_players(Partition(model.spec, {}).fixed), memory_bytes=1 << 28
    )
    outputs = method.passes.table(rows).argmax(1, keepdim=True)
    reference = method.explain(rows, outputs, Limits(samples=REFERENCE_SAMPLES, seed=4242)).values[:, 0]
    return Comparison(method, rows, outputs, reference)
