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
from whyserve.model.input_spec import AttributionForm
from whyserve.model.players import Partition
from whyserve.tables.files import has_ending

Line = dict[str, Any]
Write = Callable[[list[Line], Mapping[str, Any]], None]
# Facts that hold for the whole file. They are written once, into its metadata.
FACTS = (
    "model", "version", "manifest", "method", "method_reason", "samples", "expected_distance", "reliable",
    "reliable_reason", "device", "certified_on", "scale", "instead_of", "background",
)  # fmt: skip
# First characters of a text that spreadsheets run as a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
NUMBER = pa.float64()
TOKEN = pa.struct([("token", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("value", pa.float64())])


PLAYER = pa.struct([
    ("player", pa.string()), ("value", pa.float64()), ("box", pa.list_(pa.int64())), ("label", pa.int64()),
    ("start", pa.int64()), ("end", pa.int64()), ("channel", pa.string()), ("members", pa.list_(pa.int64())),
])  # fmt: skip


def columns_of(partition: Partition) -> dict[str, pa.DataType]:
    """The Arrow type of each attribution, by key: a feature, a group of features or a whole input."""
    return {**{key: _type(form) for key, form in partition.forms().items()}, **dict.fromkeys(partition.groups, NUMBER)}


def _type(form: AttributionForm) -> pa.DataType:
    if form.tokens or form.players:
        return pa.list_(PLAYER if form.players else TOKEN)
    nested = pa.float64()
    for _ in form.shape:
        nested = pa.list_(nested)
    return nested


def schema_of(partition: Partition) -> pa.Schema:
    """The columns of the file. `row` counts from 1. `id` is filled if the file of rows has ids. A row with an
    `error` has no other value. `missing` lists the features without a value. Only methods that sample fill the
    standard errors.
    """
    types = columns_of(partition)
    may_lack = any(feature.missing for item in partition.inputs for feature in item.features)
    return pa.schema(
        [
            ("row", pa.int64()),
            ("id", pa.string()),
            ("output", pa.string()),
            *((name, pa.float64()) for name in ("value", "base_value", "residual")),
            *((f"attribution.{key}", kind) for key, kind in types.items()),
            *((f"standard_error.{key}", kind) for key, kind in types.items()),
            *([("missing", pa.list_(pa.string()))] if may_lack else []),
            ("error", pa.string()),
        ]
    )


@contextmanager
def open_answers(path: Path, partition: Partition) -> Iterator[Write]:
    """Yields a function that writes lines, so that the size of the file does not matter. Its name says its format.

    The function also takes an answer; a Parquet file keeps its FACTS once, in its metadata. A temporary file takes the
    place of the file until all lines are written. Raises ConfigurationError if the file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    opened = next(opened for ending, opened in FORMATS.items() if has_ending(path, [ending]))
    try:
        with opened(part, schema_of(partition)) as write:
            yield write
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror or error}") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)


@contextmanager
def _parquet(path: Path, schema: pa.Schema) -> Iterator[Write]:
    kept: dict[str, Any] = {}
    with pa.parquet.ParquetWriter(path, schema) as file:

        def write(lines: list[Line], facts: Mapping[str, Any]) -> None:
            kept.update({name: facts[name] for name in FACTS if name in facts})
            file.write_batch(pa.RecordBatch.from_pylist(lines, schema=schema))

        yield write
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
        yield lambda lines, _: rows.writerows({name: cell(x) for name, x in line.items()} for line in lines)


@contextmanager
def _json_lines(path: Path, _: pa.Schema) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:
        yield lambda lines, _: file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


FORMATS: dict[str, Callable[[Path, pa.Schema], AbstractContextManager[Write]]] = {
    ".parquet": _parquet,
    ".pq": _parquet,
    ".csv": _csv,
    ".jsonl": _json_lines,
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
            **({"missing": list(output["missing"])} if "missing" in output else {}),
            **{f"attribution.{group['player']}": group["value"] for group in output.get("players", ())},
            **{
                f"standard_error.{group['player']}": group["standard_error"]
                for group in output.get("players", ())
                if "standard_error" in group
            },
        }
        for number, explanation in zip(numbers, answer["explanations"], strict=True)
        for output in explanation["outputs"]
    ]


def lines_of_faults(faults: Mapping[int, str]) -> list[Line]:
    """The lines of rows that cannot be explained. faults: the message by row number."""
    return [{"row": number, "error": fault} for number, fault in faults.items()]
