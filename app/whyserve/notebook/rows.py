"""Rows of a notebook (an array, a dict of arrays, a DataFrame, a list of instances) ⇄ arrays by input."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.export.package.background import codes_of
from whyserve.export.package.given import is_frame
from whyserve.model.arrays import check_arrays
from whyserve.model.fill import TO_ALLOW
from whyserve.model.input_spec import Feature, InputSpec, repeated
from whyserve.model.missing import is_absent
from whyserve.model.rows import Arrays, as_row, row_count
from whyserve.model.spec import ModelSpec
from whyserve.model.text import TextReader

Instances = list[dict[str, Any]]


def read_rows(spec: ModelSpec, rows: Any) -> Arrays:
    """rows: an array (for one input), a dict of arrays or DataFrames by input, or one DataFrame of all features.

    Categories are given by name in a DataFrame, and by number in an array. Raises InvalidInput.
    """
    if is_frame(rows):
        unknown = [str(name) for name in rows.columns if str(name) not in spec.keys]
        if unknown:
            raise InvalidInput(
                f"unknown columns: {', '.join(unknown[:20])}; the columns of this model: {', '.join(spec.keys[:50])}"
            )
        parts: Mapping[str, Any] = dict.fromkeys((item.name for item in spec.inputs), rows)
    elif isinstance(rows, Mapping):
        parts = rows
    elif len(spec.inputs) == 1:
        parts = {spec.inputs[0].name: rows}
    else:
        names = ", ".join(item.name for item in spec.inputs)
        raise InvalidInput(f"the network has {len(spec.inputs)} inputs: give the rows as a dict with the keys {names}")
    arrays = {
        item.name: _from_frame(item, parts[item.name]) if is_frame(parts[item.name]) else _array(item, parts[item.name])
        for item in spec.inputs
        if item.name in parts
    }
    extra = {name: np.asarray(part) for name, part in parts.items() if name not in arrays}
    whole = {item.name: _integers(arrays[item.name]) for item in spec.inputs if item.is_integer and item.name in arrays}
    return check_arrays(spec, {**arrays, **whole, **extra})


def read_instances(spec: ModelSpec, rows: Any, texts: Mapping[str, TextReader] = MappingProxyType({})) -> Instances:
    """Rows in any form as instances of a request: a list of instances, or what `read_rows` takes.

    texts: the readers by name of each input that is sent as text. Raises InvalidInput.
    """
    if is_frame(rows) and not all(item.is_tabular for item in spec.inputs):
        rows = rows.to_dict("records")
    if isinstance(rows, Sequence) and not isinstance(rows, str) and rows and isinstance(rows[0], Mapping):
        markers = {f.name for _, _, f in spec.features if f.missing}
        return [{k: None if k in markers and is_absent(value) else value for k, value in row.items()} for row in rows]
    arrays = read_rows(spec, rows)
    return [as_row(spec, arrays, number, texts) for number in range(row_count(arrays))]


def check_instances(spec: ModelSpec, arrays: Arrays, instances: Sequence[Mapping[str, Any]]) -> None:
    """Raises InvalidInput if an instance holds another value than the arrays made of it, such as 1.7 for 1."""
    check_arrays(spec, arrays)
    for item in spec.inputs:
        for key, feature, column in () if item.is_float or item.tokenizer else item.columns(arrays[item.name]):
            for number, row in enumerate(instances):
                if row[key] is None:
                    continue
                sent = np.asarray(row[key])
                if sent.dtype.kind != "U" and not np.array_equal(sent, column[number]):
                    needed = "true or false" if item.value_type(feature) is bool else "a whole number"
                    raise InvalidInput(f'row {number}: "{key}" must be {needed}; the input takes {item.dtype}')


def exact_instances(spec: ModelSpec, arrays: Arrays) -> Instances:
    """The rows as instances that keep every digit of a number; those of a request have its shortest decimals."""
    parts = [(item, arrays[item.name].tolist()) for item in spec.inputs]
    return [
        {key: value for item, rows in parts for key, value in item.instance_values(rows[number]).items()}
        for number in range(row_count(arrays))
    ]


def _integers(array: np.ndarray) -> np.ndarray:
    """Whole numbers as integers; other numbers stay as they are."""
    return array.astype(np.int64) if array.dtype.kind == "f" and np.array_equal(array, np.rint(array)) else array


def _array(item: InputSpec, rows: Any) -> np.ndarray:
    array = rows.detach().cpu().numpy() if hasattr(rows, "detach") else np.asarray(rows)
    if array.shape == item.row_shape:
        raise InvalidInput(f'the rows of "{item.name}" have shape {array.shape}, which is one row; give rows[None]')
    return array


def _from_frame(item: InputSpec, frame: Any) -> np.ndarray:
    if not item.is_tabular:
        raise InvalidInput(f'"{item.name}" is of kind {item.kind}: give it as an array (rows, …), not as a DataFrame')
    names = [str(name) for name in frame.columns]
    missing = [feature.name for feature in item.features if feature.name not in names]
    twice = repeated(names)
    if missing or twice:
        words = [f"missing columns: {', '.join(missing)}"] if missing else []
        words += [f"duplicate columns: {', '.join(twice)}"] if twice else []
        raise InvalidInput("; ".join(words))
    columns = dict(zip(names, (frame[name] for name in frame.columns), strict=True))
    return np.stack([_column(item, feature, columns[feature.name]) for feature in item.features], axis=1)


def _column(item: InputSpec, feature: Feature, column: Any) -> np.ndarray:
    missing = column.isna().to_numpy()
    present = column[~missing].infer_objects() if missing.any() else column
    if missing.any() and not feature.missing:
        words = f"there is no value; fill it or drop the row; {TO_ALLOW}"
        raise InvalidInput(f'column "{feature.name}", row {int(missing.argmax())}: {words}')
    if feature.categories:
        if unknown := sorted({str(value) for value in present} - set(feature.categories)):
            raise InvalidInput(
                f'column "{feature.name}": unknown categories: {", ".join(unknown[:20])};'
                f" known categories: {', '.join(feature.categories)}"
            )
        return codes_of(column, feature.categories)
    numbers = present.to_numpy()
    if numbers.dtype.kind not in "iufb":
        raise InvalidInput(f'column "{feature.name}" must hold numbers; it has dtype {present.dtype}')
    if not missing.any():
        return np.asarray(numbers)
    values = np.full(len(missing), item.marker(feature), np.float64)
    values[~missing] = numbers
    return values
