"""Write explanations to a file, Parquet, CSV or JSON lines: one line for each row and output."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from whyserve.errors import ConfigurationError
from whyserve.remote import file_system
from whyserve.tables.files import has_ending, written

Write = Callable[[pa.RecordBatch, Mapping[str, Any]], None]
# A Parquet file gets a row group when so many lines or bytes wait.
GROUP_LINES, GROUP_BYTES = 1 << 14, 1 << 25
# Facts of a chunk that do not hold for the whole file.
OF_CHUNK = ("id", "rows", "refused")
# First characters of a text that spreadsheets run as a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@contextmanager
def open_answers(place: str | Path, schema: pa.Schema) -> Iterator[Write]:
    """Yields a function that writes lines, so that the size of the file does not matter. Its name says its format.

    The function also takes the facts of the lines; a Parquet file keeps them once, in its metadata. The file gets its
    name when all lines are written. Raises ConfigurationError if the file cannot be written.
    """
    opened = next(opened for ending, opened in FORMATS.items() if has_ending(place, [ending]))
    try:
        with written(place) as path, opened(path, schema) as write:
            yield write
    except OSError as error:
        raise ConfigurationError(f"{place}: cannot be written: {error.strerror or error}") from error


@contextmanager
def _parquet(path: Path, schema: pa.Schema) -> Iterator[Write]:
    kept: dict[str, Any] = {"rows": 0, "refused": 0}
    held: list[pa.RecordBatch] = []
    texts = [each.name for each in schema if pa.types.is_string(each.type)]
    with pa.parquet.ParquetWriter(path, schema, use_dictionary=texts) as file:

        def flush() -> None:
            file.write_table(pa.Table.from_batches(held, schema))
            held.clear()

        def write(lines: pa.RecordBatch, facts: Mapping[str, Any]) -> None:
            kept.update({name: fact for name, fact in facts.items() if name not in OF_CHUNK})
            kept["rows"] += facts["rows"]
            kept["refused"] += facts["refused"]
            held.append(lines)
            # Small row groups would make the file's index grow with the number of rows, in memory and on disk.
            if sum(map(len, held)) >= GROUP_LINES or sum(each.nbytes for each in held) >= GROUP_BYTES:
                flush()

        yield write
        flush()
        file.add_key_value_metadata({"whyserve": json.dumps(kept)})


@contextmanager
def _csv(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """Nested values are JSON. A text that a spreadsheet would run as a formula gets an apostrophe in front."""

    def cell(value: Any) -> Any:
        if isinstance(value, list):
            return json.dumps(value, ensure_ascii=False)
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value

    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, schema.names)
        rows.writeheader()
        yield lambda lines, _: rows.writerows({name: cell(x) for name, x in line.items()} for line in _present(lines))


@contextmanager
def _json_lines(path: Path, _: pa.Schema) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:
        yield lambda lines, _: file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in _present(lines))


def _present(value: Any) -> Any:
    """Lines, or a part of one, as Python values, without the fields that are null."""
    if isinstance(value, pa.RecordBatch):
        return map(_present, value.to_pylist())
    if isinstance(value, dict):
        return {name: _present(part) for name, part in value.items() if part is not None}
    return [_present(part) for part in value] if isinstance(value, list) else value


FORMATS: dict[str, Callable[[Path, pa.Schema], AbstractContextManager[Write]]] = {
    ".parquet": _parquet,
    ".pq": _parquet,
    ".csv": _csv,
    ".jsonl": _json_lines,
}


def check_output(place: str, inputs: Sequence[str], *, force: bool) -> None:
    """Raises ConfigurationError for an unknown format, for an input file, and for an existing file without `force`."""
    if not has_ending(place, tuple(FORMATS)):
        raise ConfigurationError(f"{place}: unknown format; the name must end in {', '.join(FORMATS)}")
    system, path = file_system(place)
    exists = system.exists(path)
    local = Path(place)
    if exists and any(
        place == each or (local.exists() and Path(each).exists() and local.samefile(each)) for each in inputs
    ):
        raise ConfigurationError(f"{place}: is the file of rows; choose another name for the answers")
    if exists and not force:
        raise ConfigurationError(f"{place}: the file exists; add --force to replace it")
