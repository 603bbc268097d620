"""Counterfactuals: the nearest rows for which a model decides otherwise, by a plain search over few changed features.

All changes of one feature are tried, then of two, then of three, the nearest first. The values tried are a coarse
ladder of each feature. A row that is found is then moved back towards the original on a fine ladder.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations
from types import MappingProxyType

import numpy as np

from whyserve.model.changes import Changes
from whyserve.model.distances import Distances
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec
from whyserve.predict.ladders import Ladders, Unit

Crosses = Callable[[Arrays], np.ndarray]
"""Rows by input → (rows,): a negative number where the model decides otherwise."""
# Values per feature of the coarse ladder when one, two and three features change.
COARSE = (16, 11, 6)
# Values that are combined at most when one, two and three features change: 60,000 combinations each.
MOST = (60_000, 346, 72)
MOST_CHANGED = len(COARSE)
# Rows in the first pass, so that a near row costs little, and in a later one; and numbers in one pass.
FIRST, CHUNK, NUMBERS = 512, 16_384, 4_000_000
# So many more rows than wanted are refined: the nearest on the coarse ladder may not be the nearest.
SPARE = 3
# Combinations of values of the same features that are tried to bring a row nearer.
REFINED = 2000


@lru_cache(maxsize=8)
def _combinations(candidates: int, size: int) -> np.ndarray:
    """(combinations, size): the places of candidates, ascending."""
    flat = chain.from_iterable(combinations(range(candidates), size))
    return np.fromiter(flat, int, size * math.comb(candidates, size)).reshape(-1, size)


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

    def __init__(
        self, spec: ModelSpec, background: Arrays, vocabularies: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        """vocabularies: n by feature: it takes the ids 0 to n − 1."""
        self.distances = Distances(spec, background)
        self.spec, self._ladders = spec, Ladders(spec, self.distances, vocabularies)

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
        run = _Run(
            self,
            start,
            self._ladders.units(start, changes),
            crosses,
            deadline,
            max(1, min(chunk, CHUNK, NUMBERS // len(start))),
        )
        found = run.combined(count + SPARE, most_changed)
        rows = np.array([run.refined(each) for each in found]).reshape(-1, len(start))
        gaps = self.distances.between(rows, start[None], range(len(start)))
        order = sorted(range(len(rows)), key=lambda place: (len(found[place]), gaps[place]))[:count]
        return Found(rows[order], gaps[order], run.tried, run.complete or len(order) == count)


class _Run:
    """The search around one row."""

    def __init__(  # noqa: PLR0917
        self, search: Search, start: np.ndarray, units: list[Unit], crosses: Crosses, deadline: float, chunk: int
    ) -> None:
        self.tried, self.complete = 0, True
        self._arrays, self._start, self._units = search.distances.arrays, start, units
        self._crosses, self._deadline, self._chunk = crosses, deadline, chunk
        self._gains = np.full(len(units), -math.inf)  # how far a change of one unit alone moves the decision

    def combined(self, count: int, most_changed: int) -> list[dict[int, int]]:
        """Up to `count` combinations that cross, as the place of a value by unit. None contains another one."""
        found: list[dict[int, int]] = []
        for size in range(1, most_changed + 1):
            pool = self._pool(size)
            for places in self._level(pool, size, [set(each) for each in found], count - len(found)):
                found.append({int(pool[place, 0]): int(pool[place, 1]) for place in places})
            if len(found) >= count or time.monotonic() > self._deadline:
                break
        return found

    def _pool(self, size: int) -> np.ndarray:
        """(candidates, 2): the units and places of the values that are combined. Units that moved most come first."""
        each = min(COARSE[size - 1], max(2, 2_000_000 // len(self._start) ** 2))
        pool: list[tuple[int, int]] = []
        for unit in np.argsort(-self._gains, kind="stable").tolist():
            pool += [(unit, place) for place in self._units[unit].thinned(each).tolist()]
        self.complete &= len(pool) <= MOST[size - 1]
        return np.array(pool[: MOST[size - 1]], int).reshape(-1, 2)

    def _level(self, pool: np.ndarray, size: int, known: list[set[int]], count: int) -> list[np.ndarray]:
        """Up to `count` combinations of candidates that cross, the nearest first, each of other units."""
        units, combined = pool[:, 0], _combinations(len(pool), size)
        # The candidates of one unit follow each other, so two of them are neighbours in a combination.
        combined = combined[np.diff(units[combined], axis=1).all(axis=1)]
        gaps = np.array([self._units[unit].gaps[place] for unit, place in pool.tolist()])
        left = combined[np.argsort(gaps[combined].sum(axis=1), kind="stable")]
        columns, values = self._set_by(pool)
        found: list[np.ndarray] = []
        rows_now = FIRST

        def without(rows: np.ndarray, some: set[int]) -> np.ndarray:
            return np.asarray(rows[np.isin(units, list(some))[rows].sum(axis=1) < len(some)])

        for some in known:
            left = without(left, some)
        while len(left) and len(found) < count:
            if time.monotonic() > self._deadline:
                self.complete = False
                break
            rows_now = min(rows_now, self._chunk)
            tried, left = left[:rows_now], left[rows_now:]
            rows_now *= 2
            rows = np.repeat(np.append(self._start, 0)[None], len(tried), axis=0)
            np.put_along_axis(
                rows, columns[tried].reshape(len(tried), -1), values[tried].reshape(len(tried), -1), axis=1
            )
            margins = self._evaluate(rows[:, :-1])
            if size == 1:
                np.maximum.at(self._gains, units[tried[:, 0]], -margins)
            hits = tried[margins < 0]
            while len(hits) and len(found) < count:
                found.append(hits[0])
                some = set(units[hits[0]].tolist())
                hits, left = without(hits, some), without(left, some)
        return found

    def _set_by(self, pool: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(candidates, columns of the widest unit) twice: which columns each candidate sets, and to what.

        Units with fewer columns also set a column after the last one.
        """
        width = max((len(unit.columns) for unit in self._units), default=0)
        columns, values = np.full((len(pool), width), len(self._start)), np.zeros((len(pool), width))
        for at, (unit, place) in enumerate(pool.tolist()):
            own = self._units[unit]
            columns[at, : len(own.columns)], values[at, : len(own.columns)] = own.columns, own.values[place]
        return columns, values

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
