"""Representative rows of a background: the rows next to the centres of k-means clusters."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from whyserve.model.rows import Arrays


def representative_rows(
    arrays: Arrays, columns: Mapping[str, list[dict[str, Any]]], rows: int, seed: int
) -> np.ndarray:
    """(rows,): the indices of the row next to each cluster centre, in ascending order.

    arrays: the background by input. columns: the features of the inputs that came as a DataFrame.
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415  # takes a second; `package` does not need it

    points = _points(arrays, columns)
    distinct = len(np.unique(points, axis=0))
    found = KMeans(min(rows, distinct), n_init=4, random_state=seed).fit(points)
    distances = found.transform(points)
    distances[found.labels_[:, None] != np.arange(distances.shape[1])] = np.inf
    nearest = distances.argmin(axis=0)
    if len(nearest) < rows:  # fewer distinct rows than `rows`: repeat some, which keeps their weight in the background
        rest = np.setdiff1d(np.arange(len(points)), nearest)
        nearest = np.append(nearest, np.random.default_rng(seed).choice(rest, rows - len(nearest), replace=False))
    return np.sort(nearest)


def _points(arrays: Arrays, columns: Mapping[str, list[dict[str, Any]]]) -> np.ndarray:
    """(rows, coordinates) for distances.

    Each feature of a table is scaled to standard deviation 1, the elements of any other input together. A category has
    one coordinate for each of its labels.
    """
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
