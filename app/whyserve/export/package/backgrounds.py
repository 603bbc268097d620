"""A small background that stands for a large one: the rows in the middle of k-means clusters, and what that costs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from whyserve.errors import InvalidInput
from whyserve.explain.game.base import Attribution, Inputs, Limits, Stopped
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.exact import Exact
from whyserve.explain.methods.permutation.permutation import Permutation
from whyserve.export.package.package import network_of
from whyserve.export.package.trials import try_background
from whyserve.model.rows import Arrays

# Up to so many players every coalition is tried, and beyond them they are sampled.
ENUMERABLE = 12
# Rows that all of them are taken to be where there are more, drawn evenly: fewer of an image, which takes long.
MOST_ROWS, FEWEST_ROWS, PLAYER_ROWS = 1000, 100, 8_000
# Network rows that sampling takes for the attributions against one background, and the seconds that it may.
NETWORK_ROWS = 150_000
PATIENCE_S = 60.0
# Backgrounds drawn at random, to compare with.
DRAWS = 3


@dataclass(frozen=True, slots=True, repr=False)
class Medoids:
    """A chosen background. Prints as a line.

    background: in the form of the one it was chosen from. chosen: (rows,), where its rows stand there. total: rows
    there. distance: of the attributions against it from those against all, mean |difference| over mean |attribution|;
    by_chance: the mean of that over backgrounds of as many rows drawn at random; noise: the standard error of
    attributions where they are sampled, in the same unit. None where that takes longer than PATIENCE_S. tried: on how
    many rows.
    """

    background: Any
    chosen: np.ndarray
    total: int
    distance: float | None = None
    by_chance: float | None = None
    noise: float | None = None
    tried: int = 0

    def __repr__(self) -> str:
        said = f"{len(self.chosen)} of {self.total} rows"
        if self.distance is None:
            return f"{said}; attributions against all rows take too long to compare with"
        sampled = f"; sampled, to within {self.noise:.2g}" if self.noise else ""
        return (
            f"{said}; attributions within {self.distance:.2g} of those against all of them, as a share"
            f" (drawn at random: {self.by_chance:.2g}{sampled}), on {self.tried} rows"
        )


def medoids(model: Any, background: Any, rows: int = 20, *, tried: int = 6, seed: int = 0) -> Medoids:
    """Choose `rows` of a background by k-means, and measure on `tried` other rows what they cost in accuracy.

    model, background: as `package` takes them. Features count by their spread, categories as one-hot columns.
    Raises InvalidInput, ModelFault.
    """
    network = network_of(model)
    arrays, columns, _, _ = try_background(network, background, most=None)
    total = len(next(iter(arrays.values())))
    if not 1 <= rows < total:
        raise InvalidInput(f"{rows} rows are to be chosen of {total}: at least 1, and fewer than there are")
    chosen = _chosen(_points(arrays, columns), rows, seed)
    rest = np.setdiff1d(np.arange(total), chosen)
    on = rest[np.linspace(0, len(rest) - 1, min(tried, len(rest))).astype(int)]
    trial = _Trial(_called(network), arrays, on, seed)
    return Medoids(_part(background, chosen), chosen, total, *trial.costs(chosen), tried=len(on))


def _points(arrays: Arrays, columns: Mapping[str, list[dict[str, Any]]]) -> np.ndarray:
    """(rows, features), each feature of a table of spread 1, the elements of another input of spread 1 together."""
    parts = []
    for name, array in arrays.items():
        flat = array.reshape(len(array), -1).astype(np.float64)
        if array.ndim > 2:
            parts.append(flat / (flat.std() or 1.0))
            continue
        features = columns.get(name) or [{}] * flat.shape[1]
        for column, feature in zip(flat.T, features, strict=True):
            if labels := feature.get("categories"):
                parts.append((column[:, None] == np.arange(len(labels))).astype(np.float64))
            else:
                parts.append(column[:, None] / (column.std() or 1.0))
    return np.concatenate(parts, axis=1)


def _chosen(points: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """The row nearest to the middle of each cluster, in the order of the rows."""
    from sklearn.cluster import KMeans  # noqa: PLC0415  # takes a second, which `package` alone should not wait

    distinct = len(np.unique(points, axis=0))
    found = KMeans(min(rows, distinct), n_init=4, random_state=seed).fit(points)
    apart = found.transform(points)
    apart[found.labels_[:, None] != np.arange(apart.shape[1])] = np.inf
    nearest = apart.argmin(axis=0)
    if len(nearest) < rows:  # rows that are there many times over: the others stand for as many
        rest = np.setdiff1d(np.arange(len(points)), nearest)
        nearest = np.append(nearest, np.random.default_rng(seed).choice(rest, rows - len(nearest), replace=False))
    return np.sort(nearest)


class _Called(nn.Module):
    """A network of any framework as the explanation methods call it; no gradient passes."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        arrays = {name: x.contiguous().numpy() for name, x in zip(self.network.names, inputs, strict=True)}
        return torch.from_numpy(np.array(self.network.run(arrays)))


def _called(network: Any) -> Network:
    return Network(_Called(network), tuple(network.names))


class _Trial:
    """Attributions of rows `on`, against one background and another."""

    def __init__(self, network: Network, arrays: Arrays, on: np.ndarray, seed: int) -> None:
        self._network, self._arrays, self._seed = network, arrays, seed
        self._rows = self._taken(on)
        self._players = Players.elements({name: array.shape[1:] for name, array in arrays.items()})
        with torch.no_grad():
            width = network(self._rows).reshape(len(on), -1).shape[1]
        self._wanted = torch.arange(width).expand(len(on), width)

    def costs(self, chosen: np.ndarray) -> tuple[float | None, float | None, float | None]:
        """distance, by_chance and noise of Medoids."""
        total = len(next(iter(self._arrays.values())))
        rng = np.random.default_rng(self._seed)
        most = min(MOST_ROWS, max(FEWEST_ROWS, PLAYER_ROWS // self._players.count))
        everything = np.sort(rng.permutation(total)[:most])
        draws = [np.sort(rng.choice(total, len(chosen), replace=False)) for _ in range(DRAWS)]
        try:
            truth, *others = (self._against(rows) for rows in (everything, chosen, *draws))
        except Stopped:
            return None, None, None
        scale = truth.values.abs().mean().clamp_min(1e-300)
        of_chosen, *of_draws = (float((each.values - truth.values).abs().mean() / scale) for each in others)
        noise = None if truth.standard_errors is None else float(truth.standard_errors.mean() / scale)
        return of_chosen, sum(of_draws) / DRAWS, noise

    def _against(self, background: np.ndarray) -> Attribution:
        method = Exact if self._players.count <= ENUMERABLE else Permutation
        explainer = method(self._network, self._taken(background), self._players)
        walk = len(self._wanted) * 2 * max(1, self._players.count - 1) * len(background)
        samples = max(2, NETWORK_ROWS // walk) if method is Permutation else None
        limits = Limits(samples=samples, deadline=time.monotonic() + PATIENCE_S, seed=self._seed)
        found: Attribution = explainer.explain(self._rows, self._wanted, limits)
        return found

    def _taken(self, at: np.ndarray) -> Inputs:
        taken = {name: torch.from_numpy(array[at]) for name, array in self._arrays.items()}
        assert row_count(taken) == len(at)
        return taken


def _part(background: Any, chosen: np.ndarray) -> Any:
    """These rows, in the form that the background came in; a column of text keeps all of its categories."""
    if isinstance(background, Mapping):
        return {name: _part(each, chosen) for name, each in background.items()}
    if not hasattr(background, "iloc"):
        return np.asarray(background)[chosen]
    texts = [name for name in background.columns if str(background[name].dtype) in {"object", "str", "string"}]
    return background.astype(dict.fromkeys(texts, "category")).iloc[chosen]
