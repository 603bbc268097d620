"""Rows to compare networks on: real rows, random rows within their range, and extreme rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from whyserve.model.input_spec import InputSpec
from whyserve.model.missing import Gaps
from whyserve.model.rows import Arrays, row_count
from whyserve.model.spec import ModelSpec

RANDOM_ROWS = 128
# The numbers per input of a parity run. An image of 150,000 numbers gets fewer rows than a table of thirteen.
ELEMENTS = 2_000_000
INCOMPLETE = "incomplete"
TO_FILL = "replace NaN in the network, as torch.nan_to_num does, or set `missing` to a fill in model.toml"


@dataclass(frozen=True, slots=True)
class TrialRows:
    """arrays: all rows by input, (rows, …). sets: (name, first, end) of each set of rows. lacking: the only missing
    feature of each of the first rows of the set of incomplete rows.
    """

    arrays: Arrays
    sets: tuple[tuple[str, int, int], ...]
    lacking: tuple[str, ...] = ()

    def describe(self, row: int) -> str:
        """The place of a row in messages, such as "random row 17"."""
        name, first, _ = next(s for s in self.sets if s[1] <= row < s[2])
        if name == INCOMPLETE:
            names = ", ".join(self.lacking[row - first :][:1] or self.lacking)
            return f"a row without a value of {names} ({TO_FILL})"
        return f"{name} row {row - first}"

    @property
    def real(self) -> int:
        """The number of rows that the network must take, which come first: background, examples, incomplete rows."""
        return next(first for name, first, _ in self.sets if name == "random")

    def only(self, taken: np.ndarray) -> "TrialRows":
        """The rows where `taken`, (rows,) bool, is true."""
        place = np.concatenate([[0], taken.cumsum()]).tolist()
        sets = tuple((name, place[first], place[end]) for name, first, end in self.sets if place[first] < place[end])
        return TrialRows({name: array[taken] for name, array in self.arrays.items()}, sets, self.lacking)


def trial_rows(
    spec: ModelSpec,
    background: Arrays,
    examples: Arrays | None = None,
    vocabularies: Mapping[str, int] | None = None,
    gaps: Gaps | None = None,
) -> TrialRows:
    """Background rows, random rows between the minimum and maximum of each element, and rows far outside.

    examples: further real rows. vocabularies: the number of ids, by the name of each input that is sent as text.
    gaps: adds incomplete rows, if a feature may be missing.
    """
    incomplete, lacking = gaps.rows_to_try(background) if gaps else ({}, ())
    background = gaps.filled(background) if gaps else background
    bounds = {i.name: _bounds(i, background[i.name], (vocabularies or {}).get(i.name)) for i in spec.inputs}
    rng = np.random.default_rng(0)
    largest = max(int(np.prod(item.row_shape)) for item in spec.inputs)
    count = max(2, min(RANDOM_ROWS, ELEMENTS // largest))
    real = {name: array[:count] for name, array in background.items()}
    parts = [
        ("background", real),
        *([("example", examples)] if examples else []),
        *([(INCOMPLETE, incomplete)] if incomplete else []),
        ("random", {i.name: _random(i, *bounds[i.name], count, rng) for i in spec.inputs}),
        ("extreme", {i.name: _extreme(i, *bounds[i.name]) for i in spec.inputs}),
    ]
    sets, first = [], 0
    for name, arrays in parts:
        sets.append((name, first, first + row_count(arrays)))
        first += row_count(arrays)
    joined = {i.name: np.concatenate([arrays[i.name] for _, arrays in parts]) for i in spec.inputs}
    return TrialRows(joined, tuple(sets), lacking)


def output_not_finite(row: str) -> str:
    """The message for an infinite or undefined output. row: the place of the row."""
    return f"the network's output is not finite on {row}; it must be finite on every row in the background's range"


def _bounds(item: InputSpec, array: np.ndarray, vocabulary: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The minimum and maximum of each element. They include every code of a category and every id of a tokenizer.

    vocabulary: the number of ids of the input's tokenizer, if it has one.
    """
    low, high = (np.nanmin(array, axis=0), np.nanmax(array, axis=0)) if item.takes_nan else (array.min(0), array.max(0))
    if vocabulary is not None:
        return np.zeros_like(low), np.full_like(high, vocabulary - 1)
    for column, feature in enumerate(item.features):
        if feature.categories:
            low[column], high[column] = 0, len(feature.categories) - 1
    return low, high


def _random(item: InputSpec, low: np.ndarray, high: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    if item.is_float:
        return _possible(item, low + rng.random((count, *low.shape)) * (high - low), low, high)
    drawn = rng.integers(low.astype(np.int64), high.astype(np.int64), size=(count, *low.shape), endpoint=True)
    return drawn.astype(item.dtype)


def _possible(item: InputSpec, rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Rows of floating-point numbers; a boolean and a whole number stay what they are, and within the background."""
    for column, feature in enumerate(item.features):
        if item.value_type(feature) is not float:
            rows[:, column] = np.rint(rows[:, column].clip(low[column], high[column]))
    return rows.astype(item.dtype)


def _extreme(item: InputSpec, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The minimum, the maximum and, for floating-point numbers, ten times the range beyond them, and 0."""
    if not item.is_float:  # an index outside the table of an embedding is not valid
        return np.stack([low, high, low, high, low]).astype(item.dtype)
    span = high - low
    return _possible(item, np.stack([low, high, low - 10 * span, high + 10 * span, np.zeros_like(low)]), low, high)
