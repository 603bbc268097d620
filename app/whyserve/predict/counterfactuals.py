"""Counterfactuals: the nearest rows for which a model decides otherwise, by a plain search over few changed features.

All changes of one feature are tried, then of two, then of three, the nearest first. The values tried are a coarse
ladder of each feature. A row that is found is then moved back towards the original on a fine ladder.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np

from whyserve.model.changes import Change, Changes
from whyserve.model.distances import Distances, differ, is_number
from whyserve.model.input_spec import Feature, InputSpec
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec

Crosses = Callable[[Arrays], np.ndarray]
"""Rows by input → (rows,): a negative number where the model decides otherwise."""
# Values per feature of the coarse ladder when one, two and three features change, and of the fine ladder.
COARSE, FINE = (16, 11, 6), 128
# Values that are combined at most when one, two and three features change: 60,000 combinations each. Rows in one pass.
MOST, CHUNK = (60_000, 346, 72), 4096
MOST_CHANGED = len(COARSE)
# So many more rows than wanted are refined: the nearest on the coarse ladder may not be the nearest.
SPARE = 3
# Combinations of values of the same features that are tried to bring a row nearer.
REFINED = 2000


@dataclass(frozen=True, slots=True)
class _Unit:
    """A feature or group. values: (n, columns), the values it may get. gaps: (n,), their distances, ascending."""

    columns: list[int]
    values: np.ndarray
    gaps: np.ndarray

    def thinned(self, count: int) -> np.ndarray:
        """The places of about `count` values: evenly in the order of the values, so that both directions have some."""
        even = np.unique(np.linspace(0, len(self.values) - 1, count).round()).astype(int)
        return np.asarray(np.lexsort(self.values.T)[even])


@dataclass(slots=True)
class Found:
    """rows: (found, features), the nearest first. distances: (found,). tried: how many rows were evaluated.

    complete: whether every combination of the coarse ladders was tried, or enough were found.
    """

    rows: np.ndarray
    distances: np.ndarray
    tried: int
    complete: bool


class Search:
    """The search of one model and background. Every input must be tabular."""

    def __init__(self, spec: ModelSpec, background: Arrays) -> None:
        self.distances = Distances(spec, background)
        self.spec, self.background = spec, self.distances.background
        self._features = [(item, feature) for item in spec.inputs for feature in item.features]
        self._players: dict[str, list[int]] = {}
        for place, (_, feature) in enumerate(self._features):
            self._players.setdefault(feature.player, []).append(place)

    def __call__(
        self,
        row: Arrays,
        crosses: Crosses,
        changes: Sequence[Changes],
        *,
        count: int,
        most_changed: int = MOST_CHANGED,
        deadline: float = math.inf,
        chunk: int = CHUNK,
    ) -> Found:
        """Up to `count` rows near `row` (1, …), each with other changed features.

        changes: restrictions that all hold. deadline: in the time of time.monotonic(). chunk: rows in one pass.
        """
        start = self.distances.table(row)[0]
        units = [unit for key, own in self._players.items() if (unit := self._unit(start, key, own, changes))]
        run = _Run(self, start, units, crosses, deadline, min(chunk, CHUNK))
        found = run.combined(count + SPARE, most_changed)
        rows = np.array([run.refined(each) for each in found]).reshape(-1, len(start))
        gaps = self.distances.between(rows, start[None], range(len(start)))
        order = sorted(range(len(rows)), key=lambda place: (len(found[place]), gaps[place]))[:count]
        return Found(rows[order], gaps[order], run.tried, run.complete or len(order) == count)

    def _unit(self, start: np.ndarray, key: str, columns: list[int], changes: Sequence[Changes]) -> _Unit | None:
        limits = [each[key] for each in changes if key in each]
        if any(limit.fixed for limit in limits):
            return None
        item, feature = self._features[columns[0]]
        if len(columns) > 1 or feature.group or not is_number(item, feature):
            known = self.background[:, columns]
            known = known[~np.isnan(known).any(axis=1)]
            values = np.unique(known, axis=0) if feature.group else _codes(feature, limits)
        else:
            values = self._ladder(item, feature, columns[0], start[columns[0]], limits)
        rows = np.repeat(start[None], len(values), axis=0)
        rows[:, columns] = values
        gaps = self.distances.between(rows, start[None], columns)
        order = np.argsort(gaps, kind="stable")
        order = order[(values != start[columns]).any(axis=1)[order]]
        return _Unit(columns, values[order], gaps[order]) if len(order) else None

    def _ladder(
        self, item: InputSpec, feature: Feature, column: int, now: float, limits: Sequence[Change]
    ) -> np.ndarray:
        """(n, 1): the numbers that a feature may get."""
        known = self.background[:, column]
        known = known[~np.isnan(known)]
        ranges = [limit.range for limit in limits if limit.range] or [(known.min(), known.max())]
        low, high = max(low for low, _ in ranges), min(high for _, high in ranges)
        steps = [limit.step for limit in limits if limit.step]
        if low > high:
            return np.empty((0, 1))
        if steps and not math.isnan(now):
            first, last = math.ceil((low - now) / steps[0]), math.floor((high - now) / steps[0])
            values = now + steps[0] * np.unique(np.linspace(first, last, 4 * FINE).round())
        else:
            values = np.concatenate([np.quantile(known, np.linspace(0, 1, FINE)), np.linspace(low, high, FINE // 2)])
            digits = 3 - math.floor(math.log10((high - low) or 1.0))
            values = values.round(0 if feature.whole or not item.is_float else digits)
        values = np.unique(values.astype(item.dtype).astype(np.float64))
        for limit in limits:
            values = values[values > now] if limit.only == "up" else values
            values = values[values < now] if limit.only == "down" else values
        return values[(values >= low) & (values <= high)][:, None]


def _codes(feature: Feature, limits: Sequence[Change]) -> np.ndarray:
    """(n, 1): the codes that a category may get, or 0 and 1."""
    names = feature.categories or ("0", "1")
    sets = [limit.categories for limit in limits if limit.categories is not None]
    return np.array([[code] for code, name in enumerate(names) if all(name in each for each in sets)], float)


class _Run:
    """The search around one row."""

    def __init__(  # noqa: PLR0917
        self, search: Search, start: np.ndarray, units: list[_Unit], crosses: Crosses, deadline: float, chunk: int
    ) -> None:
        self.tried, self.complete = 0, True
        self._arrays, self._start, self._units = search.distances.arrays, start, units
        self._crosses, self._deadline, self._chunk = crosses, deadline, chunk
        self._gains = np.full(len(units), -math.inf)  # how far a change of one unit alone moves the decision

    def combined(self, count: int, most_changed: int) -> list[dict[int, int]]:
        """Up to `count` combinations that cross, as the place of a value by unit. None contains another one."""
        found: list[dict[int, int]] = []
        for size in range(1, most_changed + 1):
            pool = self._pool(size, len(self._start))
            for places in self._level(pool, size, [set(each) for each in found], count - len(found)):
                found.append({int(pool[place, 0]): int(pool[place, 1]) for place in places})
            if len(found) >= count or time.monotonic() > self._deadline:
                break
        return found

    def _pool(self, size: int, features: int) -> np.ndarray:
        """(candidates, 2): the units and places of the values that are combined. Units that moved most come first."""
        each = min(COARSE[size - 1], max(2, 2_000_000 // features**2))
        pool: list[tuple[int, int]] = []
        for unit in np.argsort(-self._gains, kind="stable").tolist():
            pool += [(unit, int(place)) for place in self._units[unit].thinned(each)]
        self.complete &= len(pool) <= MOST[size - 1]
        return np.array(pool[: MOST[size - 1]], int).reshape(-1, 2)

    def _level(self, pool: np.ndarray, size: int, known: list[set[int]], count: int) -> list[np.ndarray]:
        """Up to `count` combinations of candidates that cross, the nearest first, each of other units."""
        flat = chain.from_iterable(combinations(range(len(pool)), size))
        combined = np.fromiter(flat, int, size * math.comb(len(pool), size)).reshape(-1, size)
        units = pool[:, 0]
        of = np.sort(units[combined], axis=1)
        combined = combined[(np.diff(of, axis=1) > 0).all(axis=1)]
        gaps = np.array([self._units[unit].gaps[place] for unit, place in pool])
        left = combined[np.argsort(gaps[combined].sum(axis=1), kind="stable")]
        values = np.array([self._row({unit: place}) for unit, place in pool]).reshape(-1, len(self._start))
        changed = differ(values, self._start)
        found: list[np.ndarray] = []

        def without(rows: np.ndarray, some: set[int]) -> np.ndarray:
            return np.asarray(rows[np.isin(units[rows], list(some)).sum(axis=1) < len(some)])

        for some in known:
            left = without(left, some)
        while len(left) and len(found) < count:
            if time.monotonic() > self._deadline:
                self.complete = False
                break
            tried, left = left[: self._chunk], left[self._chunk :]
            rows = np.repeat(self._start[None], len(tried), axis=0)
            for places in tried.T:
                rows = np.where(changed[places], values[places], rows)
            margins = self._evaluate(rows)
            if size == 1:
                np.maximum.at(self._gains, units[tried[:, 0]], -margins)
            hits = tried[margins < 0]
            while len(hits) and len(found) < count:
                found.append(hits[0])
                some = set(units[hits[0]].tolist())
                hits, left = without(hits, some), without(left, some)
        return found

    def _evaluate(self, rows: np.ndarray) -> np.ndarray:
        self.tried += len(rows)
        return self._crosses(self._arrays(rows))

    def _row(self, choice: dict[int, int]) -> np.ndarray:
        row = self._start.copy()
        for unit, place in choice.items():
            row[self._units[unit].columns] = self._units[unit].values[place]
        return row

    def _together(self, choice: dict[int, int]) -> dict[int, int]:
        """The nearest combination of other values of the same units that crosses."""
        units = [self._units[number] for number in choice]
        ladders = [unit.thinned(int(REFINED ** (1 / len(units)))) for unit in units]
        places = np.stack([grid.ravel() for grid in np.meshgrid(*ladders)], axis=1)
        rows = np.repeat(self._start[None], len(places), axis=0)
        for unit, own in zip(units, places.T, strict=True):
            rows[:, unit.columns] = unit.values[own]
        gaps = sum(unit.gaps[own] for unit, own in zip(units, places.T, strict=True))
        crossing = np.where(self._evaluate(rows) < 0, gaps, np.inf)
        if crossing.min() >= sum(self._units[number].gaps[place] for number, place in choice.items()):
            return choice
        return dict(zip(choice, places[crossing.argmin()].tolist(), strict=True))

    def refined(self, choice: dict[int, int]) -> np.ndarray:
        """The row of a combination, with each changed value moved back as far as the row still crosses."""
        if len(choice) > 1 and time.monotonic() <= self._deadline:
            choice = self._together(choice)
        for number in [*choice, *choice]:
            unit, end = self._units[number], choice[number]
            if end and time.monotonic() <= self._deadline:
                rows = np.repeat(self._row(choice)[None], end, axis=0)
                rows[:, unit.columns] = unit.values[:end]
                crossing = np.flatnonzero(self._evaluate(rows) < 0)
                choice = {**choice, number: int(crossing[0])} if len(crossing) else choice
        return self._row(choice)
