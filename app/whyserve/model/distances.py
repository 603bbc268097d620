"""Distances between rows of tables, in quantiles of a background."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec

# "Unusual" is measured by the distance to this nearest background row.
NEIGHBOURS = 5
ROUNDING = 1e-9  # of a distance


def differ(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where two tables that broadcast differ. Two missing values, NaN, are equal."""
    return np.asarray((one != other) & ~(np.isnan(one) & np.isnan(other)))


class Distances:
    """The distance of two rows is a sum over features: the share of the background between two numbers, or 1 for two
    different categories, or a number and a missing value. Beyond the background's range, a distance of the whole range
    counts 1. Features of a group count half, and columns of 0 and 1 in a group are categories, so that a change of a
    one-hot column counts once. Every input must be tabular.
    """

    def __init__(self, spec: ModelSpec, background: Arrays) -> None:
        self._spec = spec
        self._is_number = np.array([item.is_number(feature) for item, _, feature in spec.features])
        self._weights = np.array([0.5 if feature.group else 1.0 for _, _, feature in spec.features])
        self.background = self.table(background)
        self._is_number &= (self._weights == 1) | ~np.isin(self.background, (0, 1)).all(axis=0)
        self._scales = [_scale(column) for column in self.background.T]

    def table(self, arrays: Arrays) -> np.ndarray:
        """(rows, features) float64, the features of all inputs."""
        return np.concatenate([arrays[item.name].astype(np.float64) for item in self._spec.inputs], axis=1)

    def arrays(self, table: np.ndarray) -> Arrays:
        """(rows, features) → arrays by input."""
        ends = np.cumsum([len(item.features) for item in self._spec.inputs])[:-1]
        parts = np.split(table, ends, axis=1)
        return {item.name: part.astype(item.dtype) for item, part in zip(self._spec.inputs, parts, strict=True)}

    def between(self, one: np.ndarray, other: np.ndarray, features: Iterable[int]) -> np.ndarray:
        """The distance of rows of two tables that broadcast, in these features; the others are equal."""
        return np.asarray(
            sum((self._gap(place, one[..., place], other[..., place]) for place in features), np.zeros(1))
        )

    def to_background(self, rows: np.ndarray) -> np.ndarray:
        """(rows, background rows): the distance of each row to each background row."""
        return self.between(rows[:, None], self.background[None], range(rows.shape[1]))

    def more_unusual(self, rows: np.ndarray) -> np.ndarray:
        """(rows,): the share of background rows that are farther from their k-th nearest background row than each row
        is from its own, k = NEIGHBOURS.
        """
        own = np.sort(self.to_background(rows), axis=1)[:, :NEIGHBOURS][:, -1]
        return np.asarray((self._usual > own[:, None] + ROUNDING).mean(axis=1))

    @cached_property
    def _usual(self) -> np.ndarray:
        """(background rows,): the distance of each to its k-th nearest other one."""
        # The first column is the row's distance from itself.
        return np.asarray(np.sort(self.to_background(self.background), axis=1)[:, : NEIGHBOURS + 1][:, -1])

    def _gap(self, place: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        apart = differ(one, other)
        if self._is_number[place]:
            gaps = np.abs(self._position(place, one) - self._position(place, other))
            apart = np.where(np.isnan(gaps), apart, gaps)
        return np.asarray(apart * self._weights[place])

    def _position(self, place: int, values: np.ndarray) -> np.ndarray:
        """The quantile of each value of a feature in the background."""
        known, ranks = self._scales[place]
        low, high = known[0], known[-1]
        inside = values.clip(low, high)
        return np.asarray(np.interp(inside, known, ranks) + (values - inside) / ((high - low) or 1.0))


def _scale(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values of a column, and the quantile of each among those that are present."""
    values, counts = np.unique(column[~np.isnan(column)], return_counts=True)
    return values, (np.cumsum(counts) - counts / 2) / counts.sum()
