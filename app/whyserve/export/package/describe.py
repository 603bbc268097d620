"""What a network takes and returns, read off its background and its answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput, ModelFault
from whyserve.model.rows import Arrays

Columns = list[dict[str, Any]]


def read_background(
    background: Any, names: Sequence[str], integer: Mapping[str, bool]
) -> tuple[Arrays, dict[str, Columns]]:
    """A background as the caller has it → arrays by input, and the features of those that came as a DataFrame.

    background: an array for a network of one input, a dict of arrays or DataFrames by input name, or one DataFrame,
    whose numbers go to the one input and whose categories to the other where there are two.
    Raises InvalidInput.
    """
    if not isinstance(background, Mapping):
        background = _by_input(background, names, integer)
    if odd := sorted(set(background).symmetric_difference(names)):
        words = "is missing from the background" if odd[0] in names else "of the background is not one of the network"
        raise InvalidInput(f'the input "{odd[0]}" {words}; its inputs are {", ".join(names)}')
    arrays: Arrays = {}
    features: dict[str, Columns] = {}
    for name in names:
        if _is_frame(background[name]):
            arrays[name], features[name] = _from_frame(background[name])
        else:
            arrays[name] = np.asarray(background[name])
        if arrays[name].dtype.kind not in "iufb" or arrays[name].ndim < 2:
            raise InvalidInput(f'the background of "{name}" must be numbers of shape (rows, …)')
        if not np.isfinite(arrays[name]).all():
            row = int(np.argwhere(~np.isfinite(arrays[name]))[0][0])
            raise InvalidInput(f'row {row} of the background of "{name}" holds a number that is not finite')
    if len({len(array) for array in arrays.values()}) > 1:
        raise InvalidInput("the background's inputs have different numbers of rows")
    if not len(next(iter(arrays.values()))):
        raise InvalidInput("the background has no rows")
    return arrays, features


def _is_frame(value: Any) -> bool:
    return hasattr(value, "columns") and hasattr(value, "dtypes")  # pandas is the caller's, not ours to import


def _is_category(column: Any) -> bool:
    return str(column.dtype) in {"category", "object", "str", "string"}


def _by_input(background: Any, names: Sequence[str], integer: Mapping[str, bool]) -> dict[str, Any]:
    if len(names) == 1:
        return {names[0]: background}
    if not _is_frame(background):
        raise InvalidInput(f"the network has {len(names)} inputs, {', '.join(names)}: give the background as a dict")
    known = [column for column in background.columns if _is_category(background[column])]
    rest = [column for column in background.columns if column not in known]
    whole = [name for name in names if integer.get(name)]
    if len(names) != 2 or not known or not rest or len(whole) != 1:
        raise InvalidInput(
            f"which columns go to which of {', '.join(names)}? Give the background as a dict of DataFrames"
        )
    return {name: background[known if name in whole else rest] for name in names}


def _from_frame(frame: Any) -> tuple[np.ndarray, Columns]:
    """(rows, columns) and a feature a column; a category is its position in the list of categories."""
    columns: list[np.ndarray] = []
    features: Columns = []
    for name in frame.columns:
        column = frame[name]
        if column.isna().any():
            raise InvalidInput(f'the column "{name}" of the background has gaps; fill or drop them')
        if not _is_category(column):
            columns.append(column.to_numpy())
            features.append({"name": str(name)})
            continue
        kept = column.astype("category").cat
        columns.append(kept.codes.to_numpy().astype(np.int64))
        features.append({"name": str(name), "categories": [str(value) for value in kept.categories]})
    if any("categories" in f for f in features) and any(array.dtype.kind == "f" for array in columns):
        raise InvalidInput(
            "numbers and categories cannot share an input: give categories an integer input of their own,"
            " or one-hot columns (pandas.get_dummies)"
        )
    return np.stack(columns, axis=1), features


def kind_of(shape: tuple[int, ...]) -> str:
    """The kind that an input of this row shape most likely has."""
    if len(shape) == 1:
        return "tabular"
    if len(shape) == 2:
        return "sequence"
    return "image" if len(shape) == 3 and (shape[-1] in {1, 3, 4} or shape[0] in {1, 3, 4}) else "tensor"


def range_of(images: np.ndarray) -> tuple[float, float]:
    """From black to white, as far as the images of a background tell."""
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high <= 1 and images.dtype.kind == "f":
        return 0.0, 1.0
    if images.dtype == np.uint8 or (low >= 0 and 127 < high <= 255):
        return 0.0, 255.0
    return (low, high) if low < high else (low, low + 1)


def describe_output(table: np.ndarray, labels: Sequence[str], names: Sequence[str], unit: str | None) -> dict[str, Any]:
    """[output] of model.toml. table: what the network returns for the background. Raises ModelFault."""
    if table.ndim > 2:
        raise ModelFault(f"the network returns {table.shape} for {len(table)} rows; (rows, outputs) is needed")
    columns = 1 if table.ndim == 1 else table.shape[1]
    table = table.reshape(len(table), columns)
    if not np.isfinite(table).all():
        row = int((~np.isfinite(table).all(axis=1)).argmax())
        raise ModelFault(f"the network's output is not finite on row {row} of the background")
    shares = bool(((table >= 0) & (table <= 1)).all())
    if not labels and not names:
        sums = shares and columns > 1 and np.allclose(table.sum(1), 1, atol=1e-4)
        if not sums and columns > 1:
            raise ModelFault(
                f"the network returns {columns} numbers a row: name them, labels=[…] of a classification"
                " or names=[…] of a regression"
            )
        if not sums and shares:
            raise ModelFault("the network returns one number between 0 and 1: say labels=[no, yes] or names=[…]")
        labels, names = ([str(i) for i in range(columns)], []) if sums else ([], ["value"])
    given = labels or names
    if len(given) != columns and not (columns == 1 and len(labels) == 2):
        raise ModelFault(f"{len(given)} {'labels' if labels else 'names'} for {columns} outputs: one each is needed")
    if labels:
        return {"labels": labels, "scores": "probabilities" if shares else "logits"}
    return {"names": names, **({"unit": unit} if unit else {}), "scores": "values"}
