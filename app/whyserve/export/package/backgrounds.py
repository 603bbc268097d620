"""A small background that represents a large one, and the error that it causes in attributions."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from whyserve.errors import InvalidInput
from whyserve.explain.game.base import Attribution, Inputs, Limits, Stopped
from whyserve.explain.game.players import Players
from whyserve.explain.methods.exact import Exact
from whyserve.explain.methods.permutation.permutation import Permutation
from whyserve.explain.models.explainable import to_tensors
from whyserve.explain.models.onnx_network import outside_torch
from whyserve.export.package.output_choice import OutputChoice
from whyserve.export.package.prepare import prepare
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


@dataclass(frozen=True, slots=True, repr=False)
class Medoids:
    """A chosen background. Its repr is one line.

    background: in the form of the background it was chosen from. chosen: (rows,), the indices of its rows there.
    total: the number of rows there.
    The next three are shares of the mean |attribution| with all rows, and None if measuring them takes too long:
    distance: the mean |difference| between attributions with the chosen background and with all rows.
    by_chance: the mean distance of backgrounds of the same size, drawn at random.
    noise: the standard error of the attributions with all rows, if they are sampled.
    tried: the number of rows that were explained to measure them.
    """

    background: Any
    chosen: np.ndarray
    total: int
    distance: float | None = None
    by_chance: float | None = None
    noise: float | None = None
    tried: int = 0

    def __repr__(self) -> str:
        size = f"{len(self.chosen)} of {self.total} rows"
        if self.distance is None:
            return f"{size}; the error of the attributions was not measured, because it takes too long"
        noise = f"; sampling error {self.noise:.2g}" if self.noise else ""
        return (
            f"{size}; attributions differ by {self.distance:.2g} of their mean size from those with all rows"
            f" (random rows: {self.by_chance:.2g}{noise}), measured on {self.tried} rows"
        )


def medoids(
    model: Any,
    background: Any,
    rows: int = 20,
    *,
    tried: int = 6,
    seed: int = 0,
    categories: Mapping[str, Sequence[str]] | None = None,
    output: Any = None,
    reduce: Any = None,
) -> Medoids:
    """Choose `rows` representative rows of a background by k-means, and measure the error on `tried` other rows.

    model, background, categories, output, reduce: as for `package`. Distances between rows use features scaled to
    standard deviation 1, and categories as one-hot columns. Raises InvalidInput, ModelFault.
    """
    choice = OutputChoice(output, reduce)
    found = prepare(model, background, choice=choice, categories=categories or {}, most=None).tried
    points = _points(found.arrays, found.columns)
    total = len(points)
    if not 1 <= rows < total:
        raise InvalidInput(f"rows is {rows}, but the background has {total} rows; choose from 1 to {total - 1}")
    chosen = _representative(points, rows, seed)
    rest = np.setdiff1d(np.arange(total), chosen)
    explained = rest[np.linspace(0, len(rest) - 1, min(tried, len(rest))).astype(int)]
    errors = _errors(found.network, found.arrays, explained, chosen, seed)
    return Medoids(_select(background, chosen, categories or {}), chosen, total, *errors, tried=len(explained))


def _points(arrays: Arrays, columns: Mapping[str, list[dict[str, Any]]]) -> np.ndarray:
    """(rows, coordinates) for distances.

    Each feature of a table is scaled to standard deviation 1, the elements of any other input together. A category has
    one coordinate for each of its labels.
    """
    parts = []
    for name, array in arrays.items():
        flat = array.reshape(len(array), -1).astype(np.float64)
        spread = flat.std(axis=0) if array.ndim == 2 else flat.std()
        scaled = flat / np.where(spread == 0, 1, spread)
        for column, feature in enumerate(columns.get(name, ())):
            if labels := feature.get("categories"):
                parts.append((flat[:, [column]] == np.arange(len(labels))).astype(np.float64))
                scaled[:, column] = 0
        parts.append(scaled)
    return np.concatenate(parts, axis=1)


def _representative(points: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """(rows,): the indices of the point next to each centre of k-means, in ascending order."""
    from sklearn.cluster import KMeans  # noqa: PLC0415  # takes a second; `package` does not need it

    distinct = len(np.unique(points, axis=0))
    found = KMeans(min(rows, distinct), n_init=4, random_state=seed).fit(points)
    distances = found.transform(points)
    distances[found.labels_[:, None] != np.arange(distances.shape[1])] = np.inf
    nearest = distances.argmin(axis=0)
    if len(nearest) < rows:  # fewer distinct rows than `rows`: repeat some, which keeps their weight in the background
        rest = np.setdiff1d(np.arange(len(points)), nearest)
        nearest = np.append(nearest, np.random.default_rng(seed).choice(rest, rows - len(nearest), replace=False))
    return np.sort(nearest)


def _errors(
    network: Any, arrays: Arrays, explained: np.ndarray, chosen: np.ndarray, seed: int
) -> tuple[float | None, float | None, float | None]:
    """distance, by_chance and noise of `Medoids`; all None if an explanation takes longer than PATIENCE_S.

    network: what network_of gives. explained, chosen: (rows,), the rows to explain and those of the background.
    """
    module, total = outside_torch(network.run, network.names), len(next(iter(arrays.values())))
    players = Players.elements({name: array.shape[1:] for name, array in arrays.items()})
    rows = _inputs(arrays, explained)
    with torch.no_grad():
        outputs = module(rows).reshape(len(explained), -1).shape[1]
    wanted = torch.arange(outputs).expand(len(explained), outputs)

    def attribution(background: np.ndarray) -> Attribution:
        method = Exact if players.count <= ENUMERABLE else Permutation
        per_sample = len(explained) * 2 * max(1, players.count - 1) * len(background)
        samples = max(2, NETWORK_ROWS // per_sample) if method is Permutation else None
        limits = Limits(samples=samples, deadline=time.monotonic() + PATIENCE_S, seed=seed)
        found: Attribution = method(module, _inputs(arrays, background), players).explain(rows, wanted, limits)
        return found

    rng = np.random.default_rng(seed)
    all_rows = np.sort(rng.permutation(total)[: min(MOST_ROWS, max(FEWEST_ROWS, PLAYER_ROWS // players.count))])
    draws = [np.sort(rng.choice(total, len(chosen), replace=False)) for _ in range(DRAWS)]
    try:
        reference, *others = map(attribution, (all_rows, chosen, *draws))
    except Stopped:
        return None, None, None
    scale = reference.values.abs().mean().clamp_min(1e-300)
    distance, *by_draw = (float((each.values - reference.values).abs().mean() / scale) for each in others)
    sampling = reference.standard_errors
    return distance, sum(by_draw) / DRAWS, None if sampling is None else float(sampling.mean() / scale)


def _inputs(arrays: Arrays, rows: np.ndarray) -> Inputs:
    return to_tensors({name: array[rows] for name, array in arrays.items()})


def _select(background: Any, rows: np.ndarray, categories: Mapping[str, Sequence[str]]) -> Any:
    """These rows, in the form of the background. A column of text becomes a categorical with all of its categories."""
    if isinstance(background, Mapping):
        return {name: _select(each, rows, categories) for name, each in background.items()}
    if not hasattr(background, "iloc"):
        return np.asarray(background)[rows]
    import pandas as pd  # noqa: PLC0415  # the caller has it: the background is a DataFrame

    ordered = {name: pd.CategoricalDtype(list(order)) for name, order in categories.items() if name in background}
    return background.astype(ordered).iloc[rows]
