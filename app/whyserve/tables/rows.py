"""Read the rows of a table, CSV, Parquet or Arrow, into arrays. If one cell cannot be read, only that row is skipped.

The table has one column for each key of an instance.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from whyserve.errors import InvalidInput
from whyserve.model.input_spec import repeated
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec
from whyserve.model.text import TextReader, check_ids
from whyserve.tables.cells import input_reader
from whyserve.tables.columns import read_columns
from whyserve.tables.files import Chunk, Dialect, is_index

DETECTED = Dialect()


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read rows.

    drop: columns to ignore. id_column: the column that names each row. dialect: of CSV files.
    """

    drop: Sequence[str] = ()
    id_column: str | None = None
    dialect: Dialect = DETECTED


EVERY = Reading()


@dataclass(frozen=True, slots=True)
class RowsRead:
    """Some rows of a table, numbered from `first`.

    numbers: the numbers of the rows that can be explained. arrays: the values of these rows, by input. texts: their
    texts, by the name of each input that is sent as text. faults: what is wrong with each other row, by its number.
    ids: the text that names each row, in order, also of the rows with faults.
    """

    first: int
    numbers: np.ndarray
    arrays: Arrays
    faults: dict[int, str]
    texts: dict[str, list[str]]
    ids: list[str] | None = None


class TableReader:
    """Reads the rows of tables with the same columns for one model."""

    def __init__(
        self,
        spec: ModelSpec,
        names: Sequence[str],
        reading: Reading,
        *,
        texts: Mapping[str, TextReader] = MappingProxyType({}),
        vocabularies: Mapping[str, int] = MappingProxyType({}),
        place: str = "",
    ) -> None:
        """names: of the columns. texts: the readers by name of each input that is sent as text. vocabularies: the
        number of ids, by feature or input. place: the beginning of a message.

        Raises InvalidInput if a column is missing or unknown.
        """
        id_column = reading.id_column
        if id_column is not None and id_column not in names:
            raise InvalidInput(f"{place}no column {id_column} for --id", field=id_column)
        _check_columns(place, spec, names, [*reading.drop, id_column] if id_column else reading.drop)
        self._spec, self._texts, self._vocabularies, self._id = spec, texts, vocabularies, id_column
        self._columns = {name: column for column, name in enumerate(names)}
        self._width = len(names)
        self._readers = {
            item.name: input_reader(item, self._columns, texts.get(item.name), reading.dialect.decimal)
            for item in spec.inputs
        }

    def read(self, chunk: Chunk, first: int = 1) -> RowsRead:
        """first: the number of the first row."""
        count = len(chunk)
        if isinstance(chunk, pa.RecordBatch):
            arrays, good = read_columns(self._spec.inputs, chunk, self._columns)
            good &= not self._vocabularies
            left = np.flatnonzero(~good)
            some = chunk.take(pa.array(left)) if len(left) else chunk.slice(0, 0)
            lines: Sequence[Sequence[Any]] = list(zip(*(each.to_pylist() for each in some.columns), strict=True))
        else:
            arrays = {item.name: np.zeros((count, *item.row_shape), item.dtype) for item in self._spec.inputs}
            good, left, lines = np.zeros(count, bool), np.arange(count), chunk
        faults: dict[int, str] = {}
        texts: dict[str, list[str]] = {name: [] for name in self._texts}
        for place, line in zip(left.tolist(), lines, strict=True):
            number = first + place
            try:
                row = self._read_line(line)
            except InvalidInput as fault:
                faults[number] = f"row {number}: {fault.message}"
                continue
            except ValueError as fault:
                faults[number] = f"row {number}{fault}"
                continue
            good[place] = True
            for name, value in row.items():
                arrays[name][place] = np.asarray(value, arrays[name].dtype).reshape(arrays[name].shape[1:])
            for name, kept in texts.items():
                kept.append(line[self._columns[name]])
        kept_arrays = arrays if not faults else {name: array[good] for name, array in arrays.items()}
        return RowsRead(first, first + np.flatnonzero(good), kept_arrays, faults, texts, self._ids(chunk))

    def _read_line(self, line: Sequence[Any]) -> dict[str, Any]:
        if len(line) != self._width:
            raise ValueError(f": the number of cells is {len(line)}; {self._width} are needed")
        row = {name: read(line) for name, read in self._readers.items()}
        if self._vocabularies:
            arrays = {name: np.asarray(value)[None] for name, value in row.items()}
            check_ids(self._spec.inputs, self._vocabularies, arrays)
        return row

    def _ids(self, chunk: Chunk) -> list[str] | None:
        if self._id is None:
            return None
        column = self._columns[self._id]
        if isinstance(chunk, pa.RecordBatch):
            return [str(cell) for cell in chunk.column(column).to_pylist()]
        return [line[column] if column < len(line) else "" for line in chunk]


def _check_columns(place: str, spec: ModelSpec, names: Sequence[str], ignored: Sequence[str]) -> None:
    """Raises InvalidInput, which names every column that is missing, unknown or there twice."""
    faults = []
    if missing := [key for key in spec.keys if key not in names]:
        faults.append(f"missing: {', '.join(missing)}")
    if unknown := [name for name in names if name not in spec.keys and name not in ignored and not is_index(name)]:
        flags = " ".join(f"--drop {shlex.quote(name)}" for name in unknown)
        faults.append(f"unknown: {', '.join(unknown)}; to ignore them, add {flags}")
    if twice := [name for name in repeated(names) if name in spec.keys]:
        faults.append(f"there twice: {', '.join(twice)}")
    if faults:
        raise InvalidInput(f"{place}columns {'; '.join(faults)}", field=(missing or unknown or twice)[0])
