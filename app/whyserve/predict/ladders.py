"""The values that each feature, or group of features, may get in a counterfactual."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from whyserve.model.changes import Change, Changes
from whyserve.model.distances import Distances
from whyserve.model.input_spec import Feature, InputSpec
from whyserve.model.spec import ModelSpec

FINE = 128  # quantiles of a feature's ladder
# float64 holds every whole number up to this one, and differences of numbers up to the other one.
LARGEST_WHOLE, LARGEST = 2.0**53, 1e300


@dataclass(frozen=True, slots=True)
class Unit:
    """A feature or group. values: (n, columns), the values it may get. gaps: (n,), their distances, ascending.

    by_value: (n,), the places in the order of the values.
    """

    columns: list[int]
    values: np.ndarray
    gaps: np.ndarray
    by_value: np.ndarray

    def thinned(self, count: int) -> np.ndarray:
        """The places of about `count` values: evenly in the order of the values, so that both directions have some."""
        return np.asarray(self.by_value[_even(len(self.values), count)])


@lru_cache(maxsize=4096)
def _even(size: int, count: int) -> np.ndarray:
    return np.unique(np.linspace(0, size - 1, count).round()).astype(int)


class Ladders:
    """The ladders of one model and background."""

    def __init__(self, spec: ModelSpec, distances: Distances, vocabularies: Mapping[str, int]) -> None:
        """vocabularies: n by feature: it takes the ids 0 to n − 1."""
        self._distances, self._vocabularies = distances, vocabularies
        self._features = [(item, feature) for item in spec.inputs for feature in item.features]
        self._players: dict[str, list[int]] = {}
        for place, (_, feature) in enumerate(self._features):
            self._players.setdefault(feature.player, []).append(place)

    def units(self, start: np.ndarray, changes: Sequence[Changes]) -> list[Unit]:
        """What may change in a row, and to what. start: (features,). changes: restrictions that all hold."""
        found = []
        for key, columns in self._players.items():
            limits = [each[key] for each in changes if key in each]
            unit = None if any(limit.fixed for limit in limits) else self._unit(start, columns, limits)
            if unit:
                found.append(unit)
        return found

    def _unit(self, start: np.ndarray, columns: list[int], limits: Sequence[Change]) -> Unit | None:
        item, feature = self._features[columns[0]]
        known = self._distances.background[:, columns]
        known = known[~np.isnan(known).any(axis=1)]
        if feature.group:
            values = np.unique(known, axis=0)
        elif item.is_number(feature):
            values = self._numbers(item, feature, known[:, 0], start[columns[0]], limits)
        else:
            values = _codes(feature, limits)
        rows = np.repeat(start[None], len(values), axis=0)
        rows[:, columns] = values
        gaps = self._distances.between(rows, start[None], columns)
        order = np.argsort(gaps, kind="stable")
        order = order[(values != start[columns]).any(axis=1)[order]]
        values = values[order]
        return Unit(columns, values, gaps[order], np.lexsort(values.T)) if len(order) else None

    def _numbers(
        self, item: InputSpec, feature: Feature, known: np.ndarray, now: float, limits: Sequence[Change]
    ) -> np.ndarray:
        """(n, 1): the numbers that a feature may get. known: those of the background. now: the row's own."""
        ranges = [limit.range for limit in limits if limit.range] or [(known.min(), known.max())]
        ranges.append(_bounds(item, feature, self._vocabularies.get(feature.name)))
        low, high = max(float(low) for low, _ in ranges), min(float(high) for _, high in ranges)
        if item.is_float:
            low, high = np.array([low, high], item.dtype).tolist()  # 0.3 is a larger number in float32
        step = _common_step([limit.step for limit in limits if limit.step], item.value_type(feature) is int)
        if low > high:
            return np.empty((0, 1))
        if step and not math.isnan(now) and (high - low) / step < LARGEST_WHOLE:
            first, last = math.ceil((low - now) / step), math.floor((high - now) / step)
            values = now + step * np.unique(np.linspace(first, last, 4 * FINE).round())
        else:
            values = np.concatenate([np.quantile(known, np.linspace(0, 1, FINE)), np.linspace(low, high, FINE // 2)])
            digits = 3 - math.floor(math.log10((high - low) or 1.0))
            values = values.round(0 if item.value_type(feature) is int else digits)
        values = values[(values >= low) & (values <= high)]
        values = np.unique(values.astype(item.dtype).astype(np.float64))
        for limit in limits:
            values = values[values > now] if limit.only == "up" else values
            values = values[values < now] if limit.only == "down" else values
        values = values[(values >= low) & (values <= high)]
        return values[~item.is_missing(feature, values), None]


def _bounds(item: InputSpec, feature: Feature, vocabulary: int | None) -> tuple[float, float]:
    """The smallest and the largest number that the network takes for a feature."""
    if vocabulary is not None:
        return 0, vocabulary - 1
    low, high = item.bounds
    largest = LARGEST_WHOLE if item.value_type(feature) is int else LARGEST
    return max(float(low), -largest), min(float(high), largest)


def _common_step(steps: Sequence[float], is_whole: bool) -> float | None:
    """The smallest number that is a multiple of every step, and a whole one if the feature is whole."""
    if not steps:
        return None
    parts = [Fraction(str(step)) for step in steps] + [Fraction(1)] * is_whole
    try:
        return math.lcm(*(part.numerator for part in parts)) / math.gcd(*(part.denominator for part in parts))
    except OverflowError:
        return LARGEST


def _codes(feature: Feature, limits: Sequence[Change]) -> np.ndarray:
    """(n, 1): the codes that a category may get, or 0 and 1."""
    names = feature.categories or ("0", "1")
    sets = [limit.categories for limit in limits if limit.categories is not None]
    return np.array([code for code, name in enumerate(names) if all(name in each for each in sets)], float).reshape(
        -1, 1
    )
