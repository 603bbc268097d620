"""The missing values in the rows of a model: where they are, and what the network gets for them.

Until then, a marker stands for a missing value in an array (InputSpec.marker), so that an answer can name it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.model.fill import FilledWith
from whyserve.model.input_spec import Feature, InputSpec
from whyserve.model.rows import Arrays, row_count
from whyserve.model.spec import ModelSpec

# Rows to try: at most so many that lack one feature each, then so many that lack each feature with this probability.
MOST_SINGLE, RANDOM_ROWS, RANDOM_SHARE = 64, 16, 0.3


class Gaps:
    """Finds and fills the missing values of one model."""

    def __init__(self, spec: ModelSpec, fills: Mapping[str, float]) -> None:
        """fills: what the network gets for a missing value, by feature, as in the manifest."""
        self._columns = [(*each, fills.get(each[2].name)) for each in spec.features if each[2].missing]

    def __bool__(self) -> bool:
        """Whether a request may send null."""
        return bool(self._columns)

    def filled(self, arrays: Arrays) -> Arrays:
        """What the network gets: each missing value with a fill is replaced. arrays: (rows, *shape) by input."""
        filled = dict(arrays)
        for item, column, feature, fill in self._columns:
            missing = item.is_missing(feature, arrays[item.name][:, column])
            if fill is None or not missing.any():
                continue
            if filled[item.name] is arrays[item.name]:
                filled[item.name] = arrays[item.name].copy()
            filled[item.name][missing, column] = fill
        return filled

    def by_row(self, arrays: Arrays) -> list[dict[str, bool]]:
        """For each row {name: True} of the features that are missing."""
        found: list[dict[str, bool]] = [{} for _ in range(row_count(arrays))]
        for item, column, feature, _ in self._columns:
            for row in np.flatnonzero(item.is_missing(feature, arrays[item.name][:, column])):
                found[row][feature.name] = True
        return found

    def rows_to_try(self, arrays: Arrays) -> tuple[Arrays, tuple[str, ...]]:
        """Real rows with gaps, as the network gets them, and the names of the features that may be missing.

        Each of the first rows lacks the feature with its name only, one row lacks all, and the others random ones.
        """
        names = tuple(feature.name for _, _, feature, _ in self._columns[:MOST_SINGLE])
        count = len(self._columns)
        drawn = np.random.default_rng(0).random((RANDOM_ROWS, count)) < RANDOM_SHARE
        lacking = np.concatenate([np.eye(len(names), count, dtype=bool), np.ones((1, count), bool), drawn])
        tried = {name: np.resize(array, (len(lacking), *array.shape[1:])) for name, array in arrays.items()}
        for place, (item, column, feature, _) in enumerate(self._columns):
            tried[item.name][lacking[:, place], column] = item.marker(feature)
        return self.filled(tried), names


def fills_of(spec: ModelSpec, background: Arrays) -> dict[str, float]:
    """What the network gets for a missing value, by each feature with a fill. background: with its gaps.

    Raises InvalidInput if a feature has no value in the background.
    """
    fills: dict[str, float] = {}
    for item, column, feature in spec.features:
        present = item.present(feature, background[item.name][:, column])
        if feature.missing and not len(present):
            raise InvalidInput(f'"{feature.name}" is missing in every row; give rows with values of it')
        if isinstance(feature.missing, FilledWith):
            fills[feature.name] = _fill(item, feature, feature.missing.fill, present)
    return fills


def _fill(item: InputSpec, feature: Feature, fill: Any, present: np.ndarray) -> float:
    if feature.categories and fill in feature.categories:
        return float(feature.categories.index(fill))
    number = float(computed(fill, present))
    return float(np.rint(number)) if item.value_type(feature) is int else number


def is_absent(value: Any) -> bool:
    """Whether a value of a row is None, NaN, or pandas's NA or NaT."""
    is_nan = isinstance(value, float | np.floating) and bool(np.isnan(value))
    return value is None or is_nan or type(value).__name__ in {"NAType", "NaTType"}


def computed(fill: Any, present: np.ndarray) -> Any:
    """A fill of model.toml; "median", "mean" and "mode" are computed from the values that are present, (rows,)."""
    if fill == "mode":
        values, counts = np.unique(present, return_counts=True)
        return values[counts.argmax()]
    if fill == "median":
        return np.median(present.astype(np.float64))
    return np.mean(present, dtype=np.float64) if fill == "mean" else fill
