"""The cells of a file of rows → the numbers that an input takes.

A category is its label and a text is a string. An input of another kind is an image file in base64, or nested lists,
which CSV holds as JSON.
"""

import json
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.model.fill import TO_ALLOW
from whyserve.model.image import Layout, read_image
from whyserve.model.input_spec import Feature, InputSpec
from whyserve.model.missing import is_absent
from whyserve.model.text import TextReader

# By the chosen decimal separator: the other one, followed by exactly three digits.
TWO_READINGS = {".": re.compile(r"([-+]?)([1-9]\d*),(\d{3})"), ",": re.compile(r"([-+]?)([1-9]\d*)\.(\d{3})")}
Reader = Callable[[Any], Any]


def input_reader(item: InputSpec, columns: dict[str, int], text: TextReader | None, decimal: str = ".") -> Reader:
    """A function: the cells of one row → the values of one input.

    columns: the position of each column. text: the reader of an input that is sent as text. decimal: the decimal
    separator of numbers in text, "." or ",".
    The function raises ValueError with a message that follows "row 7".
    """
    if item.is_tabular:
        cells = [
            (feature.name, _optional(item, feature, _feature_reader(item, feature, decimal)), columns[feature.name])
            for feature in item.features
        ]
        return lambda line: [_read(name, read, line[column]) for name, read, column in cells]
    column, read = columns[item.name], partial(_array, item) if text is None else partial(_ids, text)
    return lambda line: _read(item.name, read, line[column])


def _read(name: str, read: Reader, cell: Any) -> Any:
    try:
        return read(cell)
    except ValueError as fault:
        raise ValueError(f', column "{name}": {fault}') from None


def _optional(item: InputSpec, feature: Feature, read: Reader) -> Reader:
    """The reader of a cell that may be empty, if model.toml allows it."""
    marker = item.marker(feature)

    def read_cell(cell: Any) -> Any:
        if not is_absent(cell) and cell != "":
            return read(cell)
        if marker is not None:
            return marker
        try:
            return read(cell)
        except ValueError as fault:
            raise ValueError(f"{fault}; {TO_ALLOW}") from None

    return read_cell


def _ids(text: TextReader, cell: Any) -> list[int]:
    if not isinstance(cell, str):
        raise ValueError("must be text")
    try:
        return text.ids(cell)
    except InvalidInput as fault:
        raise ValueError(fault.message) from None


def _feature_reader(item: InputSpec, feature: Feature, decimal: str) -> Reader:
    if not feature.categories:
        if item.value_type(feature) is bool:
            return _boolean
        read_number = _number_reader(item, feature)
        return lambda cell: read_number(_with_point(cell, decimal) if isinstance(cell, str) else cell)
    codes = {label: code for code, label in enumerate(feature.categories)}
    known = ", ".join(feature.categories[:20])

    def read(cell: Any) -> int:
        if cell not in codes:
            raise ValueError(f"must be one of {known}")
        return codes[cell]

    return read


def _with_point(text: str, decimal: str) -> str:
    """A number as Python writes it. The page reads numbers by the same rule (ui/src/numbers.ts).

    A point and a comma both separate decimals. If the separator is not the chosen one, and exactly three digits follow
    it, the number has two readings and is refused: 4,000 can mean 4000 or 4.000. 0,125 has one.
    """
    if found := TWO_READINGS[decimal].fullmatch(text.strip()):
        sign, whole, thousandth = found.groups()
        raise ValueError(
            f"can mean {sign}{whole}{thousandth} or {sign}{whole}{decimal}{thousandth}; write it as one of these, or"
            f" name the file's decimal separator with `--decimal {',' if decimal == '.' else '.'}`"
        )
    return text if "." in text else text.replace(",", ".", 1)


def _boolean(cell: Any) -> bool:
    """True and False of any case. CSV files of databases hold 1 and 0."""
    found = {"true": True, "1": True, "false": False, "0": False}.get(str(cell).lower())
    if found is None:
        raise ValueError("must be true or false")
    return found


def _number_reader(item: InputSpec, feature: Feature) -> Reader:
    is_whole = not item.is_integer and item.value_type(feature) is int
    smallest, largest = item.bounds

    def read(cell: Any) -> float:
        if cell is None or cell == "":
            raise ValueError("is empty; it must be a number")
        # float() takes 1_000 and True, which no file means as numbers.
        if isinstance(cell, bool | list | dict) or (isinstance(cell, str) and "_" in cell):
            raise ValueError("must be a number")
        try:
            value = float(cell)
        except (TypeError, ValueError):
            raise ValueError("must be a number") from None
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
        if item.is_integer:
            if value != int(value) or not smallest <= value <= largest:
                raise ValueError(f"must be a whole number from {smallest} to {largest}")
            return value
        if not smallest <= value <= largest:  # a number that is rounded to the largest one is accepted
            _converted(item, np.array(value))
        if is_whole and value != int(value):
            raise ValueError("must be a whole number")
        return value

    return read


def _array(item: InputSpec, cell: Any) -> np.ndarray:
    layout = Layout.of(item)
    if isinstance(cell, str) and layout is not None and not cell.lstrip().startswith("["):
        return read_image(cell, item, layout)
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except ValueError:
            raise ValueError("must be nested lists of numbers; in CSV, write them as JSON") from None
    needed = f"must be nested lists of {'true and false' if item.is_bool else 'numbers'} of shape {item.row_shape}"
    try:
        array = np.array(cell)
    except ValueError:
        raise ValueError(needed) from None
    if array.shape != item.row_shape or array.dtype.kind not in (
        "b" if item.is_bool else item.array_kinds.replace("b", "")
    ):
        raise ValueError(needed)
    if not np.isfinite(array).all():
        raise ValueError("must hold finite numbers only")
    return _converted(item, array)


def _converted(item: InputSpec, array: np.ndarray) -> np.ndarray:
    """Finite numbers in the dtype of the input. Raises ValueError for a number that overflows it."""
    with np.errstate(over="ignore"):
        converted = array.astype(item.dtype)
    if not np.isfinite(converted).all():
        raise ValueError(f"is too large for {item.dtype}")
    return converted
