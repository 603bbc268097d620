"""Rows to try a network on: real ones, random ones in their range, and extreme ones."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from whyserve.model.input_spec import InputSpec
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec

RANDOM_ROWS = 128
# Numbers a parity run may hold an input: an image of 150,000 needs fewer rows than a table of thirteen.
ELEMENTS = 2_000_000

_Kind = tuple[InputSpec, int | None]  # an input, and how many ids it may hold where it is text


@dataclass(frozen=True, slots=True)
class TrialRows:
    """arrays: all rows. sets: (name, first, end) of each kind of row."""

    arrays: Arrays
    sets: tuple[tuple[str, int, int], ...]

    def describe(self, row: int) -> str:
        """Where a row came from, for a message: "random row 17"."""
        name, first, _ = next(s for s in self.sets if s[1] <= row < s[2])
        return f"{name} row {row - first}"


def trial_rows(
    spec: ModelSpec, background: Arrays, examples: Arrays | None = None, vocabularies: Mapping[str, int] | None = None
) -> TrialRows:
    """Background rows, random rows between each element's least and greatest, and rows far outside.

    examples: more rows that are real. vocabularies: how many ids there are, by the name of each input that is text.
    """
    kinds = {i.name: (i, (vocabularies or {}).get(i.name)) for i in spec.inputs}
    rng = np.random.default_rng(0)
    largest = max(int(np.prod(item.row_shape)) for item in spec.inputs)
    count = max(2, min(RANDOM_ROWS, ELEMENTS // largest))
    real = {name: array[:count] for name, array in background.items()}
    parts = [
        ("background", real),
        *([("example", examples)] if examples else []),
        ("random", {name: _random(kind, background[name], count, rng) for name, kind in kinds.items()}),
        ("extreme", {name: _extreme(kind, background[name]) for name, kind in kinds.items()}),
    ]
    sets, first = [], 0
    for name, arrays in parts:
        rows = len(next(iter(arrays.values())))
        sets.append((name, first, first + rows))
        first += rows
    joined = {i.name: np.concatenate([arrays[i.name] for _, arrays in parts]) for i in spec.inputs}
    return TrialRows(joined, tuple(sets))


def _bounds(kind: _Kind, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and greatest of each element; of a category all of its codes, and of a token all of its ids."""
    spec, vocabulary = kind
    low, high = array.min(axis=0), array.max(axis=0)
    if vocabulary is not None:
        return np.zeros_like(low), np.full_like(high, vocabulary - 1)
    for column, feature in enumerate(spec.features):
        if feature.categories:
            low[column], high[column] = 0, len(feature.categories) - 1
    return low, high


def _random(kind: _Kind, array: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    spec, (low, high) = kind[0], _bounds(kind, array)
    if spec.is_integer:
        drawn = rng.integers(low, high, size=(count, *low.shape), endpoint=True)
    else:
        drawn = low + rng.random((count, *low.shape)) * (high - low)
    return np.asarray(drawn, dtype=spec.dtype)


def _extreme(kind: _Kind, array: np.ndarray) -> np.ndarray:
    """Each end of the range and, for numbers, ten spans beyond it, and nought."""
    spec, (low, high) = kind[0], _bounds(kind, array)
    if spec.is_integer:  # an index beyond its table is not a row of this model
        return np.stack([low, high, low, high, low]).astype(spec.dtype)
    span = high - low
    return np.stack([low, high, low - 10 * span, high + 10 * span, np.zeros_like(low)]).astype(spec.dtype)
