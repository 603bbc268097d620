"""The error that a small background causes: attributions with it compared with attributions with all rows."""

import time
from typing import Any

import numpy as np
import torch

from whyserve.explain.game.base import Attribution, Inputs, Limits, Stopped
from whyserve.explain.game.network import row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.exact import Exact
from whyserve.explain.methods.permutation.permutation import Permutation
from whyserve.explain.models.onnx_network import outside_torch
from whyserve.model.rows import Arrays

# Up to this number of players, every coalition is evaluated. With more players, permutations are sampled.
ENUMERABLE = 12
# "All rows" are at most MOST_ROWS rows, drawn at random. With many players, such as the pixels of an image, a row takes
# long, and they are PLAYER_ROWS / players, but at least FEWEST_ROWS.
MOST_ROWS, FEWEST_ROWS, PLAYER_ROWS = 1000, 100, 8_000
# The rows of the network that sampling evaluates for the attributions with one background, and the time limit.
NETWORK_ROWS = 150_000
PATIENCE_S = 60.0
# The number of random backgrounds to compare with.
DRAWS = 3


class ErrorTrial:
    """Compares attributions of some rows with different backgrounds."""

    def __init__(self, network: Any, arrays: Arrays, explained: np.ndarray, seed: int) -> None:
        """network: what network_of gives. explained: (rows,), the indices of the rows to explain."""
        self._network, self._arrays, self._seed = outside_torch(network.run, network.names), arrays, seed
        self._rows = self._inputs(explained)
        self._players = Players.elements({name: array.shape[1:] for name, array in arrays.items()})
        with torch.no_grad():
            outputs = self._network(self._rows).reshape(len(explained), -1).shape[1]
        self._wanted = torch.arange(outputs).expand(len(explained), outputs)

    def errors(self, chosen: np.ndarray) -> tuple[float | None, float | None, float | None]:
        """distance, by_chance and noise of `Medoids`. chosen: (rows,), the indices of the background.

        All are None if an explanation takes longer than PATIENCE_S.
        """
        total = len(next(iter(self._arrays.values())))
        rng = np.random.default_rng(self._seed)
        most = min(MOST_ROWS, max(FEWEST_ROWS, PLAYER_ROWS // self._players.count))
        all_rows = np.sort(rng.permutation(total)[:most])
        draws = [np.sort(rng.choice(total, len(chosen), replace=False)) for _ in range(DRAWS)]
        try:
            reference, *others = (self._attribution(rows) for rows in (all_rows, chosen, *draws))
        except Stopped:
            return None, None, None
        scale = reference.values.abs().mean().clamp_min(1e-300)
        distance, *by_draw = (float((each.values - reference.values).abs().mean() / scale) for each in others)
        sampling = reference.standard_errors
        return distance, sum(by_draw) / DRAWS, None if sampling is None else float(sampling.mean() / scale)

    def _attribution(self, background: np.ndarray) -> Attribution:
        method = Exact if self._players.count <= ENUMERABLE else Permutation
        explainer = method(self._network, self._inputs(background), self._players)
        per_sample = len(self._wanted) * 2 * max(1, self._players.count - 1) * len(background)
        samples = max(2, NETWORK_ROWS // per_sample) if method is Permutation else None
        limits = Limits(samples=samples, deadline=time.monotonic() + PATIENCE_S, seed=self._seed)
        found: Attribution = explainer.explain(self._rows, self._wanted, limits)
        return found

    def _inputs(self, rows: np.ndarray) -> Inputs:
        inputs = {name: torch.from_numpy(array[rows]) for name, array in self._arrays.items()}
        assert row_count(inputs) == len(rows)
        return inputs
