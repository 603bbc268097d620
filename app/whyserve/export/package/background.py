"""A background, as the caller has it, read into arrays."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.export.package.gaps import TO_STATE
from whyserve.export.package.given import is_frame, plain_array, plain_background
from whyserve.model.input_spec import repeated
from whyserve.model.missing import is_absent
from whyserve.model.rows import Arrays, row_count

Columns = list[dict[str, Any]]
ENCODE = (
    'give the categories an integer input of their own, such as keras.Input(..., dtype="int64"),'
    " or encode them as one-hot columns (pandas.get_dummies)"
)


def read_background(
    background: Any,
    names: Sequence[str],
    integer: Mapping[str, bool],
    categories: Mapping[str, Sequence[str]] = MappingProxyType({}),
    missing: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Arrays, dict[str, Columns]]:
    """A background → arrays by input name, (rows, …), and the features of each input whose rows came as a DataFrame.

    background: an array or a DataFrame for a network with one input; a dict of them by input name; or one DataFrame for
        a network with two inputs, whose numbers go to one input and whose categories go to the other, integer one.
    integer: whether an input takes integers, by input name, as far as known.
    categories: the categories of a text column in the order of their codes, by column name.
    missing: by column name, from fill_gaps. Where it is True, a column of numbers keeps NaN, and a missing category
        gets the code after the last one.
    Raises InvalidInput; a text column without a stated order is refused, because any order could be the wrong one.
    """
    background = plain_background(background)
    given = list(background.values()) if isinstance(background, Mapping) else [background]
    frames = [each for each in given if is_frame(each)]
    labels = [str(column) for frame in frames for column in frame.columns]
    if odd := [column for column in categories if column not in labels]:
        known = ", ".join(labels[:50])
        raise InvalidInput(f'categories names "{odd[0]}", which is not a column of the background; they are {known}')
    for frame in frames:
        check_columns(frame, categories, missing)
    if not isinstance(background, Mapping):
        background = _by_input(background, names, integer, categories)
    known = f"the inputs are {', '.join(names)}"
    if lacking := [name for name in names if name not in background]:
        raise InvalidInput(f'input "{lacking[0]}" is missing from the background; {known}')
    if unknown := [name for name in background if name not in names]:
        raise InvalidInput(f'"{unknown[0]}" in the background is not an input of the network; {known}')
    arrays: Arrays = {}
    features: dict[str, Columns] = {}
    for name in names:
        if is_frame(background[name]):
            arrays[name], features[name] = _from_frame(name, background[name], categories, missing)
        else:
            arrays[name] = background[name]
            if is_flat(arrays[name]):  # one number per row
                arrays[name], features[name] = arrays[name][:, None], [{"name": name}]
        _check_array(name, arrays[name], nan=any(feature.get("missing") for feature in features.get(name, ())))
    if len({len(array) for array in arrays.values()}) > 1:
        counts = ", ".join(f"{name} has {len(array)}" for name, array in arrays.items())
        raise InvalidInput(f"the inputs of the background have different numbers of rows: {counts}")
    if not row_count(arrays):
        raise InvalidInput("the background has no rows; give rows of real data")
    return arrays, features


def dict_needed(names: Sequence[str]) -> InvalidInput:
    """The error for one array where a network has several inputs."""
    if not names:
        return InvalidInput(
            "the network has no input: its forward takes no argument by a name of its own; write forward(self, x)"
        )
    return InvalidInput(
        f"the network has {len(names)} inputs ({', '.join(names)}); give the background as a dict by input name"
    )


def row_of_background(name: str, row: int) -> str:
    """The place of a row in messages."""
    return f'row {row} of the background of input "{name}"'


def identifier(name: str) -> str:
    """A name as a name of an input: letters, digits and _, as converters to ONNX write the name of a column."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{plain}" if plain[:1].isdigit() or not plain else plain


def is_text(column: Any) -> bool:
    """Whether a pandas column holds strings that are not yet a categorical dtype."""
    return str(column.dtype) in {"object", "str", "string"}


def is_flat(value: Any) -> bool:
    """Whether a value is one number per row, (rows,)."""
    try:
        array = plain_array(value)
    except ValueError:  # lists of different lengths
        return False
    return array.ndim == 1 and array.dtype.kind in "iufb"


def _is_category(column: Any) -> bool:
    return str(column.dtype) == "category" or is_text(column)


def _check_array(name: str, array: np.ndarray, *, nan: bool) -> None:
    if array.dtype.kind not in "iufb" or array.ndim < 2:
        texts = "; texts need the argument tokenizer, or a DataFrame and the argument categories"
        raise InvalidInput(
            f'the background of input "{name}" has dtype {array.dtype} and shape {array.shape};'
            f" numbers of shape (rows, …) are needed{texts if array.dtype.kind in 'UO' else ''}"
        )
    valid = ~np.isinf(array) if nan else np.isfinite(array)  # other columns of a DataFrame have no NaN
    if not valid.all():
        row = int(np.argwhere(~valid)[0][0])
        raise InvalidInput(f"{row_of_background(name, row)} holds a number that is not finite; drop or correct the row")


def _by_input(
    background: Any, names: Sequence[str], integer: Mapping[str, bool], orders: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    if len(names) == 1:
        return {names[0]: background}
    if not is_frame(background):
        raise dict_needed(names)
    of_input = {identifier(str(column)): column for column in background.columns}
    if set(names) <= set(of_input):  # one input for each column
        if extra := [str(column) for name, column in of_input.items() if name not in names]:
            raise InvalidInput(
                f"columns {', '.join(extra)} of the background are no inputs of the network; drop them: the inputs are"
                f" {', '.join(names)}"
            )
        return {name: background[[of_input[name]]] for name in names}
    categories = [each for each in background.columns if each in orders or _is_category(background[each])]
    numbers = [column for column in background.columns if column not in categories]
    for_categories = [name for name in names if integer.get(name)]
    if len(names) != 2 or not categories or not numbers or len(for_categories) != 1:
        raise InvalidInput(
            f"it is unclear which columns of the background belong to which of the inputs {', '.join(names)};"
            " give the background as a dict of DataFrames by input name"
        )
    return {name: background[categories if name in for_categories else numbers] for name in names}


def _from_frame(
    name: str, frame: Any, orders: Mapping[str, Sequence[str]], missing: Mapping[str, Any]
) -> tuple[np.ndarray, Columns]:
    """(rows, columns), and one feature per column. A category becomes its position in the order of its categories."""
    columns: list[np.ndarray] = []
    features: Columns = []
    for label in map(str, frame.columns):
        column = frame[label]
        if not _is_category(column) and label not in orders:
            columns.append(column.to_numpy(np.float64, na_value=np.nan) if column.isna().any() else column.to_numpy())
            boolean = str(column.dtype) in {"bool", "boolean"}
            features.append({"name": label, "boolean": True} if boolean else {"name": label})
            continue
        order = [str(value) for value in orders.get(label) or column.cat.categories]
        columns.append(codes_of(column, order))
        features.append({"name": label, "categories": order})
    features = [{**f, "missing": missing[f["name"]]} if f["name"] in missing else f for f in features]
    categories = [feature["name"] for feature in features if "categories" in feature]
    numbers = [f["name"] for f, array in zip(features, columns, strict=True) if array.dtype.kind == "f"]
    if categories and numbers:
        raise InvalidInput(
            f'input "{name}" cannot take both categories (column "{categories[0]}") and numbers'
            f' (column "{numbers[0]}"); {ENCODE}'
        )
    return np.stack(columns, axis=1), features


def codes_of(column: Any, order: Sequence[str]) -> np.ndarray:
    """(rows,) int64. A missing value gets the code after the last one."""
    code_of = {value: code for code, value in enumerate(order)}
    absent = column.isna() if hasattr(column, "isna") else [False] * len(column)
    codes = [len(order) if gap else code_of[str(value)] for value, gap in zip(column, absent, strict=True)]
    return np.array(codes, np.int64)


def check_order(label: str, column: Any, order: Sequence[str]) -> None:
    if len(set(order)) < len(order):
        raise InvalidInput(f'categories of "{label}" name a category twice; name each category once')
    if unknown := sorted({str(value) for value in column if not is_absent(value)} - set(order)):
        raise InvalidInput(
            f'categories of "{label}" lack {", ".join(unknown[:20])}, which the background holds; list every category'
            " in the order that the network was trained with"
        )


def check_columns(
    frame: Any, orders: Mapping[str, Sequence[str]], missing: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Raises InvalidInput, which names every column that cannot be read and says what to do."""
    labels = [str(label) for label in frame.columns]
    if twice := repeated(labels):
        raise InvalidInput(f"the background has duplicate columns: {', '.join(twice)}; keep each column once")
    if gaps := [label for label, column in frame.items() if column.isna().any() and str(label) not in missing]:
        rows = ", ".join(f"{label} (first in row {int(frame[label].isna().to_numpy().argmax())})" for label in gaps)
        example = ", ".join(f'"{label}": "{"mode" if _is_category(frame[label]) else "median"}"' for label in gaps)
        raise InvalidInput(
            f"columns with missing values: {rows}; fill them, drop the rows, or add missing={{{example}}}: for each"
            f" column {TO_STATE}"
        )
    if dates := [str(label) for label, column in frame.items() if str(column.dtype).startswith(("datetime", "period"))]:
        raise InvalidInput(
            f"columns with dates: {', '.join(dates)}; replace each by numbers, such as seconds, or year, month and day"
        )
    unordered = [str(label) for label, column in frame.items() if is_text(column) and str(label) not in orders]
    if unordered:
        seen = {label: ", ".join(f'"{each}"' for each in frame[label].dropna().unique()[:4]) for label in unordered}
        example = ", ".join(f'"{label}": [{values}, …]' for label, values in seen.items())
        raise InvalidInput(
            f"the order of the categories is not known for the columns {', '.join(unordered)}; add"
            f" categories={{{example}}}, every category in the order that the network was trained with"
        )
    for label in labels:
        if label in orders:
            check_order(label, frame[label], orders[label])
