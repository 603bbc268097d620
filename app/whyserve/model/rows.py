"""The rows of a request → the arrays that a network takes, and back.

A row is a mapping with one key for each feature of each tabular input and one key for each other input. Arrays are by
input name, (rows, *shape), in the dtype of the input.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.model.input_spec import InputSpec
from whyserve.model.spec import ModelSpec
from whyserve.model.text import TextReader

Arrays = dict[str, np.ndarray]
Row = Mapping[str, Any]
# By dtype: the format of one number for struct.
STRUCT_FORMATS = {"float32": "f", "float64": "d"}


def row_count(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def each_row(arrays: Arrays) -> list[Arrays]:
    """Arrays of one row each."""
    return [{name: array[at : at + 1] for name, array in arrays.items()} for at in range(row_count(arrays))]


class RowReader:
    """Converts the checked rows of one model to arrays. One reader per model serves all requests."""

    def __init__(self, spec: ModelSpec, texts: Mapping[str, TextReader] | None = None) -> None:
        """texts: the readers by name of each input that is sent as text."""
        # The last: the struct format of the numbers of a tabular input; None for other inputs.
        self._readers = [
            (i.name, _reader(i), np.dtype(i.dtype), len(i.keys), STRUCT_FORMATS.get(i.dtype) if i.is_tabular else None)
            for i in spec.inputs
        ]
        self._texts = texts or {}

    def __call__(self, rows: Sequence[Row], place: str = "instances", first: int = 0) -> Arrays:
        """Arrays of rows whose types, keys and shapes the schema has already checked.

        place, first: the field of the request that holds the rows and the index of the first row there, for messages.
        Raises InvalidInput for a text that cannot be read and OverflowError for a number too large for its dtype.
        """
        return {
            name: pack(chain.from_iterable(map(read, rows)), (len(rows), columns), form)
            if form
            else _exact(self._plain(name, rows, read, place, first), dtype)
            for name, read, dtype, columns, form in self._readers
        }

    def loosely(self, rows: Sequence[Row], place: str = "instances", first: int = 0) -> Arrays:
        """The same, with infinity for a number too large for its dtype."""
        with np.errstate(over="ignore"):
            return {
                name: np.array(self._plain(name, rows, read, place, first), dtype=dtype)
                for name, read, dtype, *_ in self._readers
            }

    def _plain(self, name: str, rows: Sequence[Row], read: Any, place: str, first: int) -> list[Any]:
        if name not in self._texts:
            return [read(row) for row in rows]
        ids = []
        for number, row in enumerate(rows, first):
            try:
                ids.append(self._texts[name].ids(row[name]))
            except InvalidInput as fault:
                raise fault_in(place, number, fault.message, name) from None
        return ids


def pack(numbers: Iterable[float], shape: Sequence[int], form: str) -> np.ndarray:
    """An array of Python's numbers, in half of NumPy's time. form: of struct, "f" or "d".

    Raises struct.error for all but numbers and booleans, and OverflowError.
    """
    array = np.empty(shape, f"<{form}")
    struct.pack_into(f"<{array.size}{form}", array.data, 0, *numbers)
    return array


def _exact(rows: list[Any], dtype: np.dtype[Any]) -> np.ndarray:
    with np.errstate(over="raise"):
        try:
            return np.array(rows, dtype=dtype)
        except FloatingPointError as error:
            raise OverflowError from error


def _reader(spec: InputSpec) -> Any:
    names = spec.keys
    if not spec.is_tabular:
        return itemgetter(*names)
    if not any(feature.categories or feature.missing for feature in spec.features):
        # itemgetter returns the value for one key and a tuple for several. The reader must always return a sequence.
        return itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
    codes = [
        {label: code for code, label in enumerate(feature.categories)} if feature.categories else None
        for feature in spec.features
    ]
    known = list(zip(names, codes, map(spec.marker, spec.features), strict=True))
    return lambda row: [
        marker if (value := row[name]) is None else value if code is None else code[value]
        for name, code, marker in known
    ]


def as_row(
    spec: ModelSpec, arrays: Arrays, number: int, texts: Mapping[str, TextReader] | None = None
) -> dict[str, Any]:
    """Row `number` of arrays as a request holds it: numbers as their shortest decimals, categories as their labels.

    texts: the readers by name of each input that is sent as text.
    """
    row: dict[str, Any] = {}
    for item in spec.inputs:
        values = _shortest_decimals(arrays[item.name][number])
        reader = (texts or {}).get(item.name)
        row |= {item.name: reader.text(values)} if reader else item.instance_values(values)
    return row


def _shortest_decimals(array: np.ndarray) -> Any:
    """str of a float32 has the fewest digits that read back as the same number; float() of it has many more."""
    if array.ndim:
        return [_shortest_decimals(part) for part in array]
    return float(str(array)) if array.dtype.kind == "f" else array.item()


def fault_in(place: str, row: int, words: str, key: str | None = None) -> InvalidInput:
    """An error that names the row, and the key if there is one. place: the field of the request that holds the rows."""
    if place == "instances":
        named = f'instances[{row}]: "{key}" {words}' if key else f"instances[{row}]: {words}"
        return InvalidInput(named, instance=row, **({"field": key} if key else {}))
    field = f"{place}[{row}].{key}" if key else f"{place}[{row}]"
    return InvalidInput(f'"{field}" {words}' if key else f"{field}: {words}", field=field)
