"""The lines of explanations: one for each row and output, as Arrow columns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from whyserve.explain.models.explainable import ExplainableModel
from whyserve.explain.worker.results import Explained
from whyserve.jobs import ExplainJob
from whyserve.model.arrays import unpacked
from whyserve.model.input_spec import AttributionForm
from whyserve.model.outputs import Outputs
from whyserve.model.players import Partition

NUMBER = pa.float64()
TOKEN = pa.struct([("token", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("value", pa.float64())])
PLAYER = pa.struct([
    ("player", pa.string()), ("value", pa.float64()), ("box", pa.list_(pa.int64())), ("label", pa.int64()),
    ("start", pa.int64()), ("end", pa.int64()), ("channel", pa.string()), ("members", pa.list_(pa.int64())),
])  # fmt: skip


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
    # By key: a feature, a group of features or a whole input.
    types = {key: _type(form) for key, form in partition.forms().items()} | dict.fromkeys(partition.groups, NUMBER)
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


def columns_of(
    job: ExplainJob, model: ExplainableModel, explained: Explained, numbers: np.ndarray, *, keyed: bool
) -> dict[str, Any]:
    """The columns of an answer's lines, one for each row and output. keyed: whether all rows have the same players.

    numbers: (rows,), of the rows.
    """
    counts = [len(names) for names in job.outputs]
    rows = np.repeat(np.arange(len(counts)), counts)
    index = rows, np.concatenate([np.arange(count) for count in counts])
    scored = model.scored(job)
    named = Outputs(model.spec, scored.shape[1], job.scale).named
    outputs = [output for names in job.outputs for output in named(names)]
    sign = np.array([output.sign for output in outputs], np.float64)
    offset = np.array([output.offset for output in outputs], np.float64)
    value = offset + sign * scored[rows, [output.column for output in outputs]]
    base = offset + sign * explained.base_values[index]
    values = sign[:, None] * explained.values[index]
    columns = {
        "row": numbers[rows],
        "output": [output.name for output in outputs],
        "value": value,
        "base_value": base,
        "residual": value - base - values.sum(1),
        **_by_key("attribution", job, explained, rows, values, keyed=keyed),
    }
    if explained.standard_errors is not None:
        errors = explained.standard_errors[index]
        columns |= _by_key("standard_error", job, explained, rows, errors, keyed=keyed)
    if missing := model.gaps.by_row(unpacked(job.rows)):
        columns["missing"] = [list(missing[row]) or None for row in rows]
    return columns


def _by_key(
    word: str, job: ExplainJob, explained: Explained, rows: np.ndarray, values: np.ndarray, *, keyed: bool
) -> dict[str, Any]:
    """The column of each key of an answer. rows: (lines,), of each line. values: (lines, players)."""
    if keyed and (places := explained.players[0].keyed) is not None:
        turned = np.ascontiguousarray(values.T)
        return {f"{word}.{key}": turned[place] for key, place in places.items()}
    lines = []
    for row, mine in zip(rows, values, strict=True):
        players = explained.players[row]
        texts = {name: spans[row] for name, spans in job.texts.items()}
        shown = players.described(mine[: players.count], texts)
        groups = {group["player"]: group["value"] for group in shown.get("players", ())}
        lines.append({**shown["attributions"], **groups})
    return {f"{word}.{key}": [line[key] for line in lines] for key in (lines[0] if lines else ())}


def lines_of(
    schema: pa.Schema,
    explained: Sequence[Mapping[str, Any]],
    faults: Mapping[int, str],
    ids: Callable[[int], str] | None = None,
) -> pa.RecordBatch:
    """The lines of some rows, in the order of the rows.

    explained: the values of the lines of explained rows, by column; a column that is absent is empty. faults: the
    message by number of each other row. ids: number of a row → the text that names it.
    """
    batches = [_batch(schema, columns) for columns in explained]
    if faults or not batches:
        batches.append(_batch(schema, {"row": [*faults], "error": [*faults.values()]}))
    lines = pa.concat_batches(batches)
    if len(batches) > 1:
        lines = lines.take(pa.compute.sort_indices(lines.column("row")))
    if ids is not None:
        names = pa.array([ids(number) for number in lines.column("row").to_pylist()], pa.string())
        lines = lines.set_column(schema.get_field_index("id"), schema.field("id"), names)
    return lines


def _batch(schema: pa.Schema, columns: Mapping[str, Any]) -> pa.RecordBatch:
    count = len(columns["row"])
    empty = {field.name: pa.nulls(count, field.type) for field in schema}
    return pa.RecordBatch.from_pydict({**empty, **{name: columns[name] for name in empty if name in columns}}, schema)
