"""Rows as people write them ⇄ arrays as networks take them.

A row is a mapping with a key for each feature of each tabular input and a key for each other input. Arrays
are by input name, (rows, *shape), in the input's dtype.
"""

import io
import struct
import zipfile
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


class RowReader:
    """Turns checked rows of one model into arrays. Built once a model, used for every request."""

    def __init__(self, spec: ModelSpec, texts: Mapping[str, TextReader] | None = None) -> None:
        """texts: by the name of each input that is sent as text."""
        self._readers = [(i.name, _reader(i), np.dtype(i.dtype), _packed(i)) for i in spec.inputs]
        self._texts = texts or {}

    def __call__(self, rows: Sequence[Row], place: str = "instances", first: int = 0) -> Arrays:
        """Rows whose types, keys and shapes the schema has checked already.

        place: where they stand in the request; first: the number of the first of them there, both for messages.
        Raises InvalidInput for a text, and OverflowError where a number is too large for its dtype.
        """
        return {
            name: _pack(map(read, rows), len(rows), *packed)
            if packed
            else _exact(self._plain(name, rows, read, place, first), dtype)
            for name, read, dtype, packed in self._readers
        }

    def loosely(self, rows: Sequence[Row], place: str = "instances", first: int = 0) -> Arrays:
        """As above, with infinity for what is too large."""
        with np.errstate(over="ignore"):
            return {
                name: np.array(self._plain(name, rows, read, place, first), dtype=dtype)
                for name, read, dtype, _ in self._readers
            }

    def _plain(self, name: str, rows: Sequence[Row], read: Any, place: str, first: int) -> list[Any]:
        if name not in self._texts:
            return [read(row) for row in rows]
        found = []
        for number, row in enumerate(rows, first):
            try:
                found.append(self._texts[name].ids(row[name]))
            except InvalidInput as fault:
                raise fault_in(place, number, fault.message, name) from None
        return found


def _packed(spec: InputSpec) -> tuple[int, str] | None:
    """Columns and format of an input of plain numbers: packed by the struct module in half of NumPy's time."""
    formats = {"float32": "f", "float64": "d"}
    return (len(spec.features), formats[spec.dtype]) if spec.is_tabular and spec.dtype in formats else None


def _pack(rows: Iterable[Sequence[float]], count: int, columns: int, form: str) -> np.ndarray:
    array = np.empty((count, columns), f"<{form}")
    struct.pack_into(f"<{count * columns}{form}", array.data, 0, *chain.from_iterable(rows))
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
    if not any(feature.categories for feature in spec.features):
        # itemgetter of one key gives the value, of several a tuple; a row must be a sequence either way.
        return itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
    codes = [
        {label: code for code, label in enumerate(feature.categories)} if feature.categories else None
        for feature in spec.features
    ]
    pairs = list(zip(names, codes, strict=True))
    return lambda row: [row[name] if code is None else code[row[name]] for name, code in pairs]


def player_numbers(spec: ModelSpec) -> dict[str, np.ndarray]:
    """The player of each element, by input, with the shape of a row.

    Players count from 0 in the order of inputs, row-major. A group is one player, at the place of its first feature.
    """
    numbers: dict[str, np.ndarray] = {}
    features: dict[str, int] = {}
    count = 0
    for item in spec.inputs:
        if item.is_tabular:
            keys = [feature.player for feature in item.features]
            fresh = [key for key in dict.fromkeys(keys) if key not in features]
            features.update(zip(fresh, range(count, count + len(fresh)), strict=True))
            count += len(fresh)
            flat = np.array([features[key] for key in keys])
        else:
            flat = np.arange(count, count + int(np.prod(item.shape)))
            count += flat.size
        numbers[item.name] = flat.reshape(item.row_shape)
    return numbers


def by_key(spec: ModelSpec, values: np.ndarray) -> dict[str, Any]:
    """Give values by player, (players,), the keys and shapes of a row; a group has one value, under its name."""
    row: dict[str, Any] = {}
    for item, numbers in zip(spec.inputs, player_numbers(spec).values(), strict=True):
        row.update(item.attributions(values[numbers].tolist()))
    return row


def as_row(
    spec: ModelSpec, arrays: Arrays, number: int, texts: Mapping[str, TextReader] | None = None
) -> dict[str, Any]:
    """Row `number` of arrays as people write it: the shortest decimals that mean it, and categories by name.

    texts: by the name of each input that is sent as text.
    """
    row: dict[str, Any] = {}
    for item in spec.inputs:
        values = _decimal(arrays[item.name][number])
        if item.is_tabular:
            for feature, value in zip(item.features, values, strict=True):
                row[feature.name] = feature.categories[value] if feature.categories else value
        elif texts and item.name in texts:
            row[item.name] = texts[item.name].text(values)
        else:
            row[item.name] = values
    return row


def _decimal(array: np.ndarray) -> Any:
    if array.ndim:
        return [_decimal(part) for part in array]
    return float(str(array)) if array.dtype.kind == "f" else int(array)


def check_arrays(spec: ModelSpec, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Check arrays against the model's inputs and give them in the inputs' dtypes.

    Raises InvalidInput, which names the input, for a missing or unknown one, a wrong shape or kind of number,
    unequal rows, no rows, a number that is not finite or a category code out of range.
    """
    if unknown := sorted(set(arrays) - {i.name for i in spec.inputs}):
        raise InvalidInput(f'input "{unknown[0]}" is not one of this model', field=unknown[0])
    checked = {item.name: _checked(item, arrays) for item in spec.inputs}
    counts = {array.shape[0] for array in checked.values()}
    if len(counts) > 1:
        raise InvalidInput("the inputs have different numbers of rows")
    if counts == {0}:
        raise InvalidInput("there are no rows")
    return checked


def _checked(spec: InputSpec, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    def fault(words: str) -> InvalidInput:
        return InvalidInput(f'input "{spec.name}" {words}', field=spec.name)

    if spec.name not in arrays:
        raise fault("is missing")
    array = np.asarray(arrays[spec.name])
    if array.shape[1:] != spec.row_shape or array.ndim == 0:
        wanted = ", ".join(["rows", *map(str, spec.row_shape)])
        raise fault(f"has shape {array.shape}; ({wanted}) is needed")
    if array.dtype.kind not in ("iu" if spec.is_integer else "iuf"):
        raise fault(f"has dtype {array.dtype}; {spec.dtype} is needed")
    if array.dtype == spec.dtype:
        result = array.copy()
    else:
        with np.errstate(over="ignore"):
            result = array.astype(spec.dtype)
    if not np.isfinite(result).all():
        raise fault("holds a number that is not finite")
    if spec.is_integer and not np.array_equal(result, array):
        raise fault(f"holds a number outside {spec.dtype}")
    for column, feature in enumerate(spec.features):
        if feature.categories and not ((result[:, column] >= 0) & (result[:, column] < len(feature.categories))).all():
            raise fault(f'holds a code outside the categories of "{feature.name}"')
    return result


def read_npz(content: bytes) -> Arrays:
    """The arrays of an .npz file; a file that needs unpickling is refused. Raises InvalidInput."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, OSError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise InvalidInput("not an .npz file of plain arrays") from error


def first_not_finite(spec: ModelSpec, arrays: Arrays) -> tuple[int, str] | None:
    """The first row and key that hold a number that is not finite; None when all are."""
    for item in spec.inputs:
        array = arrays[item.name]
        if item.is_integer or np.isfinite(array).all():
            continue
        row, *inside = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
        return row, item.key_of(inside)
    return None


def fault_in(place: str, row: int, words: str, key: str | None = None) -> InvalidInput:
    """What is wrong with row `row` of the list `place` of a request, and with which of its keys."""
    if place == "instances":
        named = f'instances[{row}]: "{key}" {words}' if key else f"instances[{row}]: {words}"
        return InvalidInput(named, instance=row, **({"field": key} if key else {}))
    field = f"{place}[{row}].{key}" if key else f"{place}[{row}]"
    return InvalidInput(f'"{field}" {words}' if key else f"{field}: {words}", field=field)
