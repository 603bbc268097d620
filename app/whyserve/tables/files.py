"""Open a file of rows, CSV or Parquet: the names of its columns and the cells of each row."""

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet

from whyserve.errors import InvalidInput, first_line

PARQUET, CSV = (".parquet", ".pq"), (".csv", ".csv.gz", ".tsv", ".txt")
SEPARATORS = ",;\t|"
ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# Columns that pandas writes for its index: of Parquet, and of CSV.
INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+|")
FORMATS = f"{', '.join(CSV)}, {' or '.join(PARQUET)}"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a CSV file is written. None: found from the file, from its first bytes and its heading."""

    separator: str | None = None
    encoding: str | None = None
    decimal: Literal[".", ","] = "."


def has_ending(path: Path, endings: Sequence[str]) -> bool:
    return path.name.lower().endswith(tuple(endings))


def open_rows(path: Path, dialect: Dialect) -> tuple[list[str], Iterator[Sequence[Any]]]:
    """The names of the columns, without blanks around them, and the cells of each row. Raises InvalidInput."""
    try:
        if has_ending(path, PARQUET):
            table = pa.parquet.read_table(path)
            return table.column_names, zip(*(column.to_pylist() for column in table.columns), strict=True)
        if not has_ending(path, CSV):
            raise InvalidInput(f"{path.name}: unknown format; the name must end in {FORMATS}")
        content = path.read_bytes()
        lines = _csv_lines(gzip.decompress(content) if has_ending(path, [".gz"]) else content, dialect)
    except FileNotFoundError as error:
        raise InvalidInput(f"{path.name}: no such file") from error
    except UnicodeError as error:
        raise InvalidInput(
            f"{path.name}: cannot be read as CSV or Parquet: it is not UTF-8; add its encoding, such as"
            " `--encoding cp1252`"
        ) from error
    except (OSError, EOFError, LookupError, csv.Error, pa.ArrowException) as error:
        raise InvalidInput(f"{path.name}: cannot be read as CSV or Parquet: {first_line(error)}") from error
    if not lines:
        raise InvalidInput(f"{path.name}: the file is empty; its first line must name the columns")
    return [name.strip() for name in lines[0]], (line for line in lines[1:] if line)


def is_index(name: str) -> bool:
    """Whether a column is the index of a DataFrame, which pandas writes unless it is told not to."""
    return INDEX.fullmatch(name) is not None


def _csv_lines(content: bytes, dialect: Dialect) -> list[list[str]]:
    encoding = next((name for mark, name in ENCODINGS.items() if content.startswith(mark)), "utf-8")
    text = content.decode(dialect.encoding or encoding)
    heading = text.partition("\n")[0]
    separator = dialect.separator or max(SEPARATORS, key=heading.count)
    return list(csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator))
