"""Read a file of rows, CSV or Parquet, into arrays. If one cell cannot be read, only that row is skipped.

The file has one column for each key of an instance.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from whyserve.errors import InvalidInput, first_line
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec
from whyserve.model.text import TextReader, check_ids
from whyserve.tables.cells import input_reader


@dataclass(frozen=True, slots=True)
class RowsRead:
    """numbers: the numbers of the rows that can be explained, from 1, without the heading of the file.

    arrays: the values of these rows, by input. texts: their texts, by the name of each input that is sent as text.
    faults: what is wrong with each other row, by its number.
    """

    numbers: list[int]
    arrays: Arrays
    faults: dict[int, str]
    texts: dict[str, list[str]]

    @property
    def count(self) -> int:
        """The number of rows in the file."""
        return len(self.numbers) + len(self.faults)


def read_rows(
    path: Path,
    spec: ModelSpec,
    drop: Sequence[str] = (),
    texts: Mapping[str, TextReader] | None = None,
    vocabularies: Mapping[str, int] = MappingProxyType({}),
) -> RowsRead:
    """Read rows of a model.

    drop: columns to ignore. texts: the readers by name of each input that is sent as text. vocabularies: the number of
    ids, by feature or input.
    Raises InvalidInput if no row can be used: the file cannot be read, is empty, lacks a column or has an unknown one.
    """
    names, lines = _open(path)
    _check_columns(path, spec, names, drop)
    columns = {name: column for column, name in enumerate(names)}
    readers = {item.name: input_reader(item, columns, (texts or {}).get(item.name)) for item in spec.inputs}
    values: dict[str, list[Any]] = {name: [] for name in readers}
    kept_texts: dict[str, list[str]] = {name: [] for name in texts or {}}
    numbers: list[int] = []
    faults: dict[int, str] = {}
    for number, line in enumerate(lines, 1):
        try:
            if len(line) != len(names):
                raise ValueError(f": the number of cells is {len(line)}; {len(names)} are needed")
            row = {name: read(line) for name, read in readers.items()}
            check_ids(spec.inputs, vocabularies, {name: np.asarray(value)[None] for name, value in row.items()})
        except InvalidInput as fault:
            faults[number] = f"row {number}: {fault.message}"
            continue
        except ValueError as fault:
            faults[number] = f"row {number}{fault}"
            continue
        numbers.append(number)
        for name, value in row.items():
            values[name].append(value)
        for name, kept in kept_texts.items():
            kept.append(line[columns[name]])
    if not numbers and not faults:
        raise InvalidInput(f"{path.name}: the file has no rows")
    arrays = {i.name: np.array(values[i.name], dtype=i.dtype).reshape(-1, *i.row_shape) for i in spec.inputs}
    return RowsRead(numbers, arrays, faults, kept_texts)


def _open(path: Path) -> tuple[list[str], Iterator[Sequence[Any]]]:
    """The names of the columns, and the cells of each row."""
    try:
        if path.suffix.lower() == ".parquet":
            table = pa.parquet.read_table(path)
            return table.column_names, zip(*(column.to_pylist() for column in table.columns), strict=True)
        text = io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")
        lines = list(csv.reader(text, strict=True))
    except FileNotFoundError as error:
        raise InvalidInput(f"{path.name}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise InvalidInput(f"{path.name}: cannot be read as CSV or Parquet: {first_line(error)}") from error
    if not lines:
        raise InvalidInput(f"{path.name}: the file is empty; its first line must name the columns")
    return lines[0], (line for line in lines[1:] if line)


def _check_columns(path: Path, spec: ModelSpec, names: Sequence[str], drop: Sequence[str]) -> None:
    def fault(column: str, words: str) -> InvalidInput:
        return InvalidInput(f'{path.name}: the column "{column}" {words}', field=column)

    if missing := [key for key in spec.keys if key not in names]:
        raise fault(missing[0], "is missing")
    if unknown := [name for name in names if name not in spec.keys and name not in drop]:
        raise fault(unknown[0], f"is not an input of {spec.name}; use `--drop {unknown[0]}` to ignore it")
    if len(set(names)) < len(names):
        raise fault(next(name for name in names if names.count(name) > 1), "appears twice")
