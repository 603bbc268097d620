"""Write explanations to a file, Parquet, CSV or JSON lines: one line for each row and output."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet

from whyserve.errors import ConfigurationError
from whyserve.model.input_spec import AttributionForm
from whyserve.model.spec import ModelSpec
from whyserve.tables.files import has_ending

Line = dict[str, Any]
# Facts that hold for the whole file. They are written once, into its metadata.
FACTS = ("model", "version", "manifest", "method", "method_reason", "expected_distance", "background")
# First characters of a text that spreadsheets run as a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
TOKEN = pa.struct([("token", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("value", pa.float64())])


def columns_of(spec: ModelSpec) -> dict[str, pa.DataType]:
    """The Arrow type of each attribution, by key: a feature, a group of features or a whole input."""
    return {key: _type(form) for item in spec.inputs for key, form in item.attribution_forms().items()}


def _type(form: AttributionForm) -> pa.DataType:
    if form.tokens:
        return pa.list_(TOKEN)
    nested = pa.float64()
    for _ in form.shape:
        nested = pa.list_(nested)
    return nested


def schema_of(spec: ModelSpec) -> pa.Schema:
    """The columns of the file. `row` counts from 1. `id` is filled if the file of rows has ids. A row with an
    `error` has no other value. Only methods that sample fill the standard errors.
    """
    types = columns_of(spec)
    return pa.schema(
        [
            ("row", pa.int64()),
            ("id", pa.string()),
            ("output", pa.string()),
            *((name, pa.float64()) for name in ("value", "base_value", "residual")),
            *((f"attribution.{key}", kind) for key, kind in types.items()),
            *((f"standard_error.{key}", kind) for key, kind in types.items()),
            ("error", pa.string()),
        ]
    )


class AnswerFile:
    """A file of answers that is written in parts, so that its size does not matter. Its name says its format. A
    temporary file takes its place until all lines are written.
    """

    def __init__(self, path: Path, spec: ModelSpec) -> None:
        """Raises ConfigurationError if the file cannot be written."""
        self._path, schema = path, schema_of(spec)
        self._part = path.with_name(path.name + ".part")
        self._facts: dict[str, Any] = {}
        kind = next(kind for ending, kind in FORMATS.items() if has_ending(path, [ending]))
        try:
            self._writer = kind(self._part, schema)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be written: {error.strerror or error}") from error

    def write(self, lines: list[Line], facts: Mapping[str, Any]) -> None:
        """facts: an answer; a Parquet file keeps its FACTS once, in its metadata."""
        self._facts |= {name: facts[name] for name in FACTS if name in facts}
        self._writer.write(lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close(self._facts)
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)


class _Parquet:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema, self._file = schema, pa.parquet.ParquetWriter(path, schema)

    def write(self, lines: list[Line]) -> None:
        self._file.write_batch(pa.RecordBatch.from_pylist(lines, schema=self._schema))

    def close(self, facts: Mapping[str, Any]) -> None:
        self._file.add_key_value_metadata({"whyserve": json.dumps(facts)})
        self._file.close()


class _Csv:
    """Nested values are JSON. A text that a spreadsheet would run as a formula gets an apostrophe in front."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._rows = csv.DictWriter(self._file, schema.names)
        self._rows.writeheader()

    def write(self, lines: list[Line]) -> None:
        self._rows.writerows({name: self._cell(value) for name, value in line.items()} for line in lines)

    def _cell(self, value: Any) -> Any:
        if isinstance(value, list):
            return json.dumps(value, ensure_ascii=False)
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value

    def close(self, facts: Mapping[str, Any]) -> None:
        self._file.close()


class _JsonLines:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("w", encoding="utf-8")

    def write(self, lines: list[Line]) -> None:
        self._file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    def close(self, facts: Mapping[str, Any]) -> None:
        self._file.close()


FORMATS: dict[str, type[_Parquet | _Csv | _JsonLines]] = {
    ".parquet": _Parquet,
    ".pq": _Parquet,
    ".csv": _Csv,
    ".jsonl": _JsonLines,
}


def check_output(path: Path, inputs: Sequence[Path], *, force: bool) -> None:
    """Raises ConfigurationError for an unknown format, for an input file, and for an existing file without `force`."""
    if not has_ending(path, tuple(FORMATS)):
        raise ConfigurationError(f"{path}: unknown format; the name must end in {', '.join(FORMATS)}")
    if any(path.exists() and each.exists() and path.samefile(each) for each in inputs):
        raise ConfigurationError(f"{path}: is the file of rows; choose another name for the answers")
    if path.exists() and not force:
        raise ConfigurationError(f"{path}: the file exists; add --force to replace it")


def lines_of(numbers: list[int], answer: Mapping[str, Any]) -> list[Line]:
    """The lines of an answer of /explain. numbers: the numbers of its rows."""
    return [
        {
            "row": number,
            **{name: output[name] for name in ("output", "value", "base_value", "residual")},
            **{f"attribution.{key}": value for key, value in output["attributions"].items()},
            **{f"standard_error.{key}": value for key, value in output.get("standard_errors", {}).items()},
        }
        for number, explanation in zip(numbers, answer["explanations"], strict=True)
        for output in explanation["outputs"]
    ]


def lines_of_faults(faults: Mapping[int, str]) -> list[Line]:
    """The lines of rows that cannot be explained. faults: the message by row number."""
    return [{"row": number, "error": fault} for number, fault in faults.items()]
