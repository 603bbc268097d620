"""Read a file of rows, CSV or Parquet, into arrays. If one cell cannot be read, only that row is skipped.

The file has one column for each key of an instance.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec
from whyserve.model.text import TextReader, check_ids
from whyserve.tables.cells import input_reader
from whyserve.tables.files import Dialect, is_index, open_rows

DETECTED = Dialect()


@dataclass(frozen=True, slots=True)
class RowsRead:
    """numbers: the numbers of the rows that can be explained, from 1, without the heading of the file.

    arrays: the values of these rows, by input. texts: their texts, by the name of each input that is sent as text.
    faults: what is wrong with each other row, by its number. ids: the text that names each row of the file, in order.
    """

    numbers: list[int]
    arrays: Arrays
    faults: dict[int, str]
    texts: dict[str, list[str]]
    ids: list[str] = field(default_factory=list)

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
    *,
    dialect: Dialect = DETECTED,
    id_column: str | None = None,
) -> RowsRead:
    """Read rows of a model.

    drop: columns to ignore. texts: the readers by name of each input that is sent as text. vocabularies: the number of
    ids, by feature or input. id_column: the column that names each row.
    Raises InvalidInput if no row can be used: the file cannot be read, is empty, lacks a column or has an unknown one.
    """
    names, lines = open_rows(path, dialect)
    if id_column is not None and id_column not in names:
        raise InvalidInput(f"{path.name}: no column {id_column} for --id", field=id_column)
    _check_columns(path, spec, names, [*drop, id_column] if id_column else drop)
    columns = {name: column for column, name in enumerate(names)}
    readers = {
        item.name: input_reader(item, columns, (texts or {}).get(item.name), dialect.decimal) for item in spec.inputs
    }
    values: dict[str, list[Any]] = {name: [] for name in readers}
    kept_texts: dict[str, list[str]] = {name: [] for name in texts or {}}
    numbers: list[int] = []
    faults: dict[int, str] = {}
    ids: list[str] = []
    for number, line in enumerate(lines, 1):
        if id_column is not None:
            place = columns[id_column]
            ids.append(str(line[place]) if place < len(line) else "")
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
    return RowsRead(numbers, arrays, faults, kept_texts, ids)


def _check_columns(path: Path, spec: ModelSpec, names: Sequence[str], ignored: Sequence[str]) -> None:
    """Raises InvalidInput, which names every column that is missing, unknown or there twice."""
    faults = []
    if missing := [key for key in spec.keys if key not in names]:
        faults.append(f"missing: {', '.join(missing)}")
    if unknown := [name for name in names if name not in spec.keys and name not in ignored and not is_index(name)]:
        flags = " ".join(f"--drop {shlex.quote(name)}" for name in unknown)
        faults.append(f"unknown: {', '.join(unknown)}; to ignore them, add {flags}")
    if twice := sorted({name for name in names if names.count(name) > 1 and name in spec.keys}):
        faults.append(f"there twice: {', '.join(twice)}")
    if faults:
        raise InvalidInput(f"{path.name}: columns {'; '.join(faults)}", field=(missing or unknown or twice)[0])
