"""Write explanations to a Parquet file: one line for each row and output."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet

from whyserve.errors import ConfigurationError
from whyserve.model.input_spec import AttributionForm
from whyserve.model.spec import ModelSpec

Line = dict[str, Any]
# Facts that hold for the whole file. They are written once, into its metadata.
FACTS = ("model", "version", "manifest", "method", "method_reason", "expected_distance", "background")

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
    """The columns of the file. `row` counts from 1. A row with an `error` has no other value. Only methods that sample
    fill the standard errors.
    """
    types = columns_of(spec)
    return pa.schema(
        [
            ("row", pa.int64()),
            ("output", pa.string()),
            *((name, pa.float64()) for name in ("value", "base_value", "residual")),
            *((f"attribution.{key}", kind) for key, kind in types.items()),
            *((f"standard_error.{key}", kind) for key, kind in types.items()),
            ("error", pa.string()),
        ]
    )


class AnswerFile:
    """A Parquet file that is written in parts, so that its size does not matter. A temporary file takes its place until
    all lines are written.
    """

    def __init__(self, path: Path, spec: ModelSpec) -> None:
        """Raises ConfigurationError if the file cannot be written."""
        self._path, self._schema = path, schema_of(spec)
        self._part = path.with_name(path.name + ".part")
        self._facts: dict[str, Any] = {}
        try:
            self._writer = pa.parquet.ParquetWriter(self._part, self._schema)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be written: {error.strerror or error}") from error

    def write(self, lines: list[Line], facts: Mapping[str, Any]) -> None:
        """facts: an answer; the file keeps its FACTS once."""
        self._facts |= {name: facts[name] for name in FACTS if name in facts}
        self._writer.write_batch(pa.RecordBatch.from_pylist(lines, schema=self._schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._writer.add_key_value_metadata({"whyserve": json.dumps(self._facts)})
        self._writer.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)


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
