"""A file of rows, CSV or Parquet → arrays; and which cell of it is wrong, where one is.

A column for each key of an instance. Categories and texts stand as their strings, and inputs that are neither text
nor a table as nested lists: in CSV written as JSON.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from whyserve.errors import InvalidInput, first_line
from whyserve.model.image import Layout, read_picture
from whyserve.model.input_spec import Feature, InputSpec
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec
from whyserve.model.text import TextReader

Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class RowsRead:
    """numbers: of the rows that can be explained, from 1 as in a spreadsheet without its heading; arrays: theirs.

    texts: theirs, by the name of each input that is text. faults: what is wrong with each of the others, by its number.
    """

    numbers: list[int]
    arrays: Arrays
    faults: dict[int, str]
    texts: dict[str, list[str]]

    @property
    def count(self) -> int:
        """Rows in the file."""
        return len(self.numbers) + len(self.faults)


def read_rows(
    path: Path, spec: ModelSpec, drop: Sequence[str] = (), texts: Mapping[str, TextReader] | None = None
) -> RowsRead:
    """Read rows of a model. drop: columns that are not the model's and may be there. texts: of inputs that are text.

    Raises InvalidInput for what makes the whole file useless: not such a file, a column missing or of no use.
    """
    names, lines = _open(path)
    _check_columns(path, spec, names, drop)
    places = {name: place for place, name in enumerate(names)}
    readers = {item.name: _readers(item, places, (texts or {}).get(item.name)) for item in spec.inputs}
    good: dict[str, list[Any]] = {name: [] for name in readers}
    written: dict[str, list[str]] = {name: [] for name in texts or {}}
    numbers: list[int] = []
    faults: dict[int, str] = {}
    for number, line in enumerate(lines, 1):
        try:
            if len(line) != len(names):
                raise ValueError(f"has {len(line)} cells; {len(names)} are needed")
            row = {name: read(line) for name, read in readers.items()}
        except ValueError as fault:
            faults[number] = f"row {number}{fault}" if str(fault).startswith(",") else f"row {number} {fault}"
            continue
        numbers.append(number)
        for name, values in row.items():
            good[name].append(values)
        for name, kept in written.items():
            kept.append(line[places[name]])
    if not numbers and not faults:
        raise InvalidInput(f"{path.name}: holds no rows")
    arrays = {i.name: np.array(good[i.name], dtype=i.dtype).reshape(-1, *i.row_shape) for i in spec.inputs}
    return RowsRead(numbers, arrays, faults, written)


def _open(path: Path) -> tuple[list[str], Iterator[Sequence[Any]]]:
    try:
        if path.suffix.lower() == ".parquet":
            table = pa.parquet.read_table(path)
            return table.column_names, zip(*(column.to_pylist() for column in table.columns), strict=True)
        text = io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")
        lines = list(csv.reader(text, strict=True))
    except FileNotFoundError as error:
        raise InvalidInput(f"{path.name}: there is no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise InvalidInput(f"{path.name}: cannot be read as CSV or Parquet: {first_line(error)}") from error
    if not lines:
        raise InvalidInput(f"{path.name}: is empty; a line with the names of the columns is needed")
    return lines[0], (line for line in lines[1:] if line)


def _check_columns(path: Path, spec: ModelSpec, names: Sequence[str], drop: Sequence[str]) -> None:
    if missing := [key for key in spec.keys if key not in names]:
        raise InvalidInput(f'{path.name}: the column "{missing[0]}" is missing', field=missing[0])
    if extra := [name for name in names if name not in spec.keys and name not in drop]:
        raise InvalidInput(
            f'{path.name}: the column "{extra[0]}" is not an input of {spec.name}; `--drop {extra[0]}` passes over it',
            field=extra[0],
        )
    if len(set(names)) < len(names):
        doubled = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f'{path.name}: the column "{doubled}" stands there twice', field=doubled)


def _readers(item: InputSpec, places: dict[str, int], text: TextReader | None) -> Read:
    """Takes a line and gives this input's row. It raises ValueError with words that follow "row 7"."""
    if text is not None:
        place = places[item.name]
        return lambda line: _named(item.name, lambda cell: _ids(text, cell), line[place])
    if not item.is_tabular:
        place = places[item.name]
        return lambda line: _named(item.name, lambda cell: _nested(item, cell), line[place])
    cells = [(feature.name, _reader(item, feature), places[feature.name]) for feature in item.features]
    return lambda line: [_named(name, read, line[place]) for name, read, place in cells]


def _named(name: str, read: Read, cell: Any) -> Any:
    try:
        return read(cell)
    except ValueError as fault:
        raise ValueError(f', column "{name}": {fault}') from None


def _ids(text: TextReader, cell: Any) -> list[int]:
    if not isinstance(cell, str):
        raise ValueError("must be text")
    try:
        return text.ids(cell)
    except InvalidInput as fault:
        raise ValueError(fault.message) from None


def _reader(item: InputSpec, feature: Feature) -> Read:
    if not feature.categories:
        return lambda cell: _number(item, cell)
    codes = {label: code for code, label in enumerate(feature.categories)}
    known = ", ".join(feature.categories[:20])

    def read(cell: Any) -> int:
        if cell not in codes:
            raise ValueError(f"must be one of {known}")
        return codes[cell]

    return read


def _number(item: InputSpec, cell: Any) -> float:
    if cell is None or cell == "":
        raise ValueError("is empty")
    if isinstance(cell, bool | list | dict) or (isinstance(cell, str) and "_" in cell):
        raise ValueError("must be a number")
    try:
        value = float(cell)
    except (TypeError, ValueError):
        raise ValueError("must be a number") from None
    with np.errstate(over="ignore"):
        if not math.isfinite(value) or not (item.is_integer or np.isfinite(np.array(value).astype(item.dtype))):
            raise ValueError("must be a finite number, and not too large for this model")
    if item.is_integer:
        bounds = np.iinfo(item.dtype)
        if value != int(value) or not bounds.min <= value <= bounds.max:
            raise ValueError("must be a whole number that the model can take")
    return value


def _nested(item: InputSpec, cell: Any) -> np.ndarray:
    layout = Layout.of(item)
    if isinstance(cell, str) and layout is not None and not cell.lstrip().startswith("["):
        return read_picture(cell, item, layout)
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except ValueError:
            raise ValueError("must be nested lists, in CSV as JSON") from None
    wanted = f"must be numbers in lists of shape {item.row_shape}"
    try:
        array = np.array(cell)
    except ValueError:
        raise ValueError(wanted) from None
    if array.shape != item.row_shape or array.dtype.kind not in ("iu" if item.is_integer else "iuf"):
        raise ValueError(wanted)
    with np.errstate(over="ignore"):
        result = array.astype(item.dtype)
    if not np.isfinite(result).all():
        raise ValueError("must hold finite numbers, and none too large for this model")
    return result
