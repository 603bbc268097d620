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
    """The search around one row. A candidate is a number that stands for one value of one unit; those of a unit follow
    each other, the nearest first. A choice is a row of candidates, each of another unit.
    """

    def __init__(  # noqa: PLR0917
        self, search: Search, start: np.ndarray, units: list[Unit], crosses: Crosses, deadline: float, chunk: int
    ) -> None:
        self.tried, self.complete = 0, True
        self._arrays, self._start, self._units = search.distances.arrays, start, units
        self._crosses, self._deadline, self._chunk = crosses, deadline, chunk
        self._gains = np.full(len(units), -math.inf)  # how far a change of one unit alone moves the decision
        sizes = [len(unit.gaps) for unit in units]
        self._unit_of, self._first = np.repeat(np.arange(len(units)), sizes), np.cumsum([0, *sizes])
        self._gaps = np.concatenate([np.empty(0), *(unit.gaps for unit in units)])
        # (candidates, columns of the widest unit): the columns that a candidate sets, and to what. Units with fewer
        # columns also set a column after the last one.
        width = max((len(unit.columns) for unit in units), default=0)
        self._columns, self._values = np.full((sum(sizes), width), len(start)), np.zeros((sum(sizes), width))
        for unit, first in zip(units, self._first, strict=False):
            place = np.s_[first : first + len(unit.gaps), : len(unit.columns)]
            self._columns[place], self._values[place] = unit.columns, unit.values

    def combined(self, count: int, most_changed: int) -> list[np.ndarray]:
        """Up to `count` choices that cross. None contains the units of another one."""
        found: list[np.ndarray] = []
        for size in range(1, most_changed + 1):
            known = [set(self._unit_of[each].tolist()) for each in found]
            found += self._level(self._pool(size), size, known, count - len(found))
            if len(found) >= count or time.monotonic() > self._deadline:
                break
        return found

    def _pool(self, size: int) -> np.ndarray:
        """The candidates that are combined. Units that moved the decision most come first."""
        each = min(COARSE[size - 1], max(2, 2_000_000 // len(self._start) ** 2))
        order = np.argsort(-self._gains, kind="stable").tolist()
        pool = np.concatenate([np.empty(0, int), *(self._thinned(unit, each) for unit in order)])
        self.complete &= len(pool) <= MOST[size - 1]
        return pool[: MOST[size - 1]]

    def _thinned(self, unit: int, count: int) -> np.ndarray:
        return np.asarray(self._first[unit] + self._units[unit].thinned(count))

    def _level(self, pool: np.ndarray, size: int, known: list[set[int]], count: int) -> list[np.ndarray]:
        """Up to `count` choices of candidates of the pool that cross, the nearest first, each of other units."""
        left = pool[_combinations(len(pool), size)]
        # The candidates of one unit follow each other, so two of them are neighbours in a combination.
        left = left[np.diff(self._unit_of[left], axis=1).all(axis=1)]
        left = left[np.argsort(self._gaps[left].sum(axis=1), kind="stable")]
        found: list[np.ndarray] = []
        rows_now = FIRST

        def without(choices: np.ndarray, some: set[int]) -> np.ndarray:
            return np.asarray(choices[np.isin(self._unit_of, list(some))[choices].sum(axis=1) < len(some)])

        for some in known:
            left = without(left, some)
        while len(left) and len(found) < count:
            if time.monotonic() > self._deadline:
                self.complete = False
                break
            rows_now = min(rows_now, self._chunk)
            tried, left = left[:rows_now], left[rows_now:]
            rows_now *= 2
            margins = self._margins(tried)
            if size == 1:
                np.maximum.at(self._gains, self._unit_of[tried[:, 0]], -margins)
            hits = tried[margins < 0]
            while len(hits) and len(found) < count:
                found.append(hits[0])
                some = set(self._unit_of[hits[0]].tolist())
                hits, left = without(hits, some), without(left, some)
        return found

    def _rows(self, choices: np.ndarray) -> np.ndarray:
        """(choices, features): the row with the values of each choice."""
        rows = np.repeat(np.append(self._start, 0)[None], len(choices), axis=0)
        columns, values = (each[choices].reshape(len(choices), -1) for each in (self._columns, self._values))
        np.put_along_axis(rows, columns, values, axis=1)
        return np.asarray(rows[:, :-1])

    def _margins(self, choices: np.ndarray) -> np.ndarray:
        self.tried += len(choices)
        return self._crosses(self._arrays(self._rows(choices)))

    def _together(self, choice: np.ndarray) -> np.ndarray:
        """The nearest choice of other values of the same units that crosses."""
        most = int(REFINED ** (1 / len(choice)))
        ladders = [self._thinned(unit, most) for unit in self._unit_of[choice]]
        choices = np.stack([grid.ravel() for grid in np.meshgrid(*ladders)], axis=1)
        gaps = np.where(self._margins(choices) < 0, self._gaps[choices].sum(axis=1), np.inf)
        return choice if gaps.min() >= self._gaps[choice].sum() else np.asarray(choices[gaps.argmin()])

    def refined(self, choice: np.ndarray) -> np.ndarray:
        """The row of a choice, with each changed value moved back as far as the row still crosses."""
        if len(choice) > 1 and time.monotonic() <= self._deadline:
            choice = self._together(choice)
        for at in [*range(len(choice))] * 2:
            nearer = np.arange(self._first[self._unit_of[choice[at]]], choice[at])
            if len(nearer) and time.monotonic() <= self._deadline:
                choices = np.repeat(choice[None], len(nearer), axis=0)
                choices[:, at] = nearer
                crossing = np.flatnonzero(self._margins(choices) < 0)
                choice = choices[crossing[0]] if len(crossing) else choice
        return np.asarray(self._rows(choice[None])[0])
