"""Open files of rows, CSV or Parquet: the names of their columns, and their rows in chunks.

A place is a path, or an address of an object store, such as s3://bucket/rows.parquet.
"""

import codecs
import csv
import glob
import gzip
import io
import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Literal, TypeAlias

import pyarrow as pa
import pyarrow.parquet

from whyserve.errors import InvalidInput, WhyserveError, first_line
from whyserve.remote import fault, file_system, is_address, open_bytes

PARQUET, CSV = (".parquet", ".pq"), (".csv", ".csv.gz", ".tsv", ".txt")
SEPARATORS = ",;\t|"
ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# Columns that pandas writes for its index: of Parquet, and of CSV.
INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+|")
FORMATS = f"{', '.join(CSV)}, {' or '.join(PARQUET)}"
# Bytes that are read of each column of a local Parquet file at once. Without it, a whole row group is read.
BUFFER = 1 << 18

Chunk: TypeAlias = pa.RecordBatch | list[list[str]]
"""Some rows of a file: of Parquet a batch, of CSV the texts of the cells by row."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a CSV file is written. None: found from the file, from its first bytes and its heading."""

    separator: str | None = None
    encoding: str | None = None
    decimal: Literal[".", ","] = "."


@dataclass(frozen=True, slots=True)
class RowsFile:
    """A file of rows. names: of its columns, without blanks around them. count: the number of its rows.

    chunks: (rows of a chunk, rows to skip) → the chunks. Raises InvalidInput if the file cannot be read.
    """

    place: str
    names: list[str]
    count: int
    chunks: Callable[[int, int], Iterator[Chunk]]

    @property
    def name(self) -> str:
        return name_of(self.place)


def name_of(place: str | Path) -> str:
    return str(place).rstrip("/").rpartition("/")[2]


def has_ending(place: str | Path, endings: Sequence[str]) -> bool:
    return name_of(place).lower().endswith(tuple(endings))


def matching(places: Sequence[str]) -> list[str]:
    """The files of places with * and ?, in the order of their names. Raises InvalidInput if a pattern has no file."""
    found = []
    for place in places:
        if not set(place) & set("*?") or (not is_address(place) and Path(place).exists()):
            found.append(place)
            continue
        if is_address(place):
            system, path = file_system(place)
            files = [system.unstrip_protocol(each) for each in system.glob(path)]
        else:
            files = glob.glob(place)
        if not files:
            raise InvalidInput(f"{place}: no such file")
        found += sorted(files)
    return found


@contextmanager
def written(place: str | Path) -> Iterator[Path]:
    """A path to write. Its file moves to the place when all of it is written, so that the place never has a part."""
    if is_address(place):
        system, path = file_system(str(place))
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder, name_of(place))
            yield local
            system.put_file(str(local), path)
        return
    # Two processes may write the same file at the same time.
    part = Path(place).with_name(f".{name_of(place)}.{socket.gethostname()}-{os.getpid()}.part")
    try:
        yield part
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def open_rows(place: str | Path, dialect: Dialect) -> RowsFile:
    """Raises InvalidInput if the file has another format, cannot be read, or has no heading or no rows.

    A CSV file is read once to count its rows, so that a fault of its encoding is found before any row is explained.
    """
    place = str(place)
    with _readable(place):
        if has_ending(place, PARQUET):
            with _parquet(place) as content:
                names, count = content.schema_arrow.names, content.metadata.num_rows
            file = RowsFile(place, names, count, partial(_parquet_chunks, place))
        elif has_ending(place, CSV):
            lines = _csv_lines(place, dialect)
            heading = next(lines, None)
            if heading is None:
                raise InvalidInput(f"{name_of(place)}: the file is empty; its first line must name the columns")
            names, count = [name.strip() for name in heading], sum(1 for _ in lines)
            file = RowsFile(place, names, count, partial(_csv_chunks, place, dialect))
        else:
            raise InvalidInput(f"{name_of(place)}: unknown format; the name must end in {FORMATS}")
    if not file.count:
        raise InvalidInput(f"{file.name}: the file has no rows")
    return file


def is_index(name: str) -> bool:
    """Whether a column is the index of a DataFrame, which pandas writes unless it is told not to."""
    return INDEX.fullmatch(name) is not None


@contextmanager
def _readable(place: str) -> Iterator[None]:
    name = name_of(place)
    try:
        yield
    except FileNotFoundError as error:
        raise InvalidInput(f"{name}: no such file") from error
    except UnicodeError as error:
        raise InvalidInput(
            f"{name}: cannot be read as CSV or Parquet: it is not UTF-8; add its encoding, such as `--encoding cp1252`"
        ) from error
    except (OSError, EOFError, LookupError, csv.Error, pa.ArrowException) as error:
        raise InvalidInput(f"{name}: cannot be read as CSV or Parquet: {first_line(error)}") from error
    except Exception as error:  # of a store that ended the connection
        if isinstance(error, WhyserveError) or not is_address(place):
            raise
        raise fault(place, error) from error


@contextmanager
def _parquet(place: str) -> Iterator[pa.parquet.ParquetFile]:
    """Of a store, the columns of a row group are read together, in few requests. A cache would read far beyond them."""
    whole = is_address(place)
    with (
        open_bytes(place, cache_type="none") as content,
        pa.parquet.ParquetFile(content, buffer_size=BUFFER, pre_buffer=whole) as file,
    ):
        yield file


def _parquet_chunks(place: str, rows: int, skip: int) -> Iterator[Chunk]:
    with _readable(place), _parquet(place) as file:
        groups, before = [], 0
        for group in range(file.num_row_groups):
            before += file.metadata.row_group(group).num_rows
            if before > skip:
                groups.append(group)
        skip -= before - sum(file.metadata.row_group(group).num_rows for group in groups)
        # One group after the other, because what is read together is kept together.
        batches = (file.iter_batches(rows, [group], use_threads=False) for group in groups)
        yield from _of_size(chain.from_iterable(batches), rows, skip)


def _of_size(batches: Iterable[pa.RecordBatch], rows: int, skip: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of one size, without the first `skip`. The last batch may be smaller."""
    held: list[pa.RecordBatch] = []
    for each in batches:
        batch, skip = each.slice(skip), max(0, skip - len(each))
        while (needed := rows - sum(map(len, held))) <= len(batch):
            yield pa.concat_batches([*held, batch.slice(0, needed)])
            held, batch = [], batch.slice(needed)
        held += [batch] if len(batch) else []
    if held:
        yield pa.concat_batches(held)


def _csv_chunks(place: str, dialect: Dialect, rows: int, skip: int) -> Iterator[Chunk]:
    with _readable(place):
        lines = islice(_csv_lines(place, dialect), 1 + skip, None)
        while chunk := list(islice(lines, rows)):
            yield chunk


def _csv_lines(place: str, dialect: Dialect) -> Iterator[list[str]]:
    """The lines that are not empty, first the heading."""
    with open_bytes(place) as raw, gzip.open(raw) if has_ending(place, [".gz"]) else raw as content:
        start = content.read(3)
        content.seek(0)
        encoding = next((name for mark, name in ENCODINGS.items() if start.startswith(mark)), "utf-8")
        text = io.TextIOWrapper(content, dialect.encoding or encoding, newline="")
        heading = text.readline()
        separator = dialect.separator or max(SEPARATORS, key=heading.count)
        yield from filter(None, csv.reader(chain([heading], text), strict=True, delimiter=separator))
