"""The argument `missing` of `package`: what becomes of the missing values in the columns of a DataFrame."""

from collections.abc import Mapping
from typing import Any

from whyserve.errors import InvalidInput
from whyserve.export.package.given import is_frame, plain_background
from whyserve.model.missing import computed

Missing = dict[str, Any]
"""`missing` of model.toml by feature: True, or {"fill": value}."""
TO_STATE = "the value to fill in (median, mean, mode or a value), or True if the network takes missing values"


def fill_gaps(background: Any, missing: Mapping[str, Any]) -> tuple[Any, Missing]:
    """The background with its fills, and `missing` of each feature, with the value of each fill.

    missing: by column, True, "median", "mean", "mode" or a value. The fills are computed from all given rows.
    Raises InvalidInput for a column that does not exist, has no value, or does not take the fill.
    """
    if not missing:
        return background, {}
    background = plain_background(background)
    parts = dict(background) if isinstance(background, Mapping) else {"": background}
    frames = {name: part.copy() for name, part in parts.items() if is_frame(part)}
    described: Missing = {}
    for frame in frames.values():
        for label in [label for label in frame.columns if label in missing]:
            frame[label], described[label] = _column(label, frame[label], missing[label])
    if unknown := [name for name in missing if name not in described]:
        known = ", ".join(str(label) for frame in frames.values() for label in frame.columns)
        raise InvalidInput(
            f'missing names "{unknown[0]}", which is not a column of a DataFrame of the background;'
            f" its columns: {known or 'none'}"
        )
    return ({**parts, **frames} if isinstance(background, Mapping) else frames[""]), described


def _column(label: str, column: Any, how: Any) -> tuple[Any, Any]:
    present = column.dropna()
    if not len(present):
        raise InvalidInput(f'column "{label}" has no value; drop it')
    if column.dtype == object and all(isinstance(value, bool) for value in present):
        column, present = column.astype("boolean"), present.astype(bool)
    if how is True:
        return column, True
    numeric = str(column.dtype) not in {"boolean", "bool", "category", "object", "str", "string"}
    if isinstance(how, str) and how != "mode" and numeric != (how in {"median", "mean"}):
        raise InvalidInput(f'missing: column "{label}" cannot be filled with "{how}"; give {TO_STATE}')
    value = present.mode().iloc[0] if how == "mode" else computed(how, present.to_numpy()) if numeric else how
    if numeric and (present % 1 == 0).all():
        value = round(float(value))  # an age stays a whole number
    try:
        filled = column.fillna(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f'missing: column "{label}" does not hold {value!r}; give {TO_STATE}') from error
    value = value.item() if hasattr(value, "item") else value
    return (filled.astype(bool) if str(column.dtype) == "boolean" else filled), {"fill": value}
