"""What a caller gives to `package`: the types of the arguments, and the tables and tensors of a background."""

import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.remote import is_address


def _is_list(value: Any) -> bool:
    """Whether a value is a list of non-empty texts, or of numbers, which become texts."""
    # Also the columns of a DataFrame and the keys of a dict.
    is_list = isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)
    return is_list and all(isinstance(each, str | int | float | np.generic) and str(each) for each in value)


def _is_place(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def _of(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, Mapping) and all(isinstance(key, str) for key in value) and all(map(test, value.values()))
    )


# By argument: its test, and what to give.
ARGUMENTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "labels": (_is_list, 'a list with one name for each label, such as ["no", "yes"]'),
    "names": (_is_list, 'a list with one name for each output, such as ["price"]'),
    "unit": (lambda value: isinstance(value, str), 'a text, such as "kg"'),
    "features": (
        lambda value: _is_list(value) or _of(_is_list)(value),
        "a list of column names, or a dict of such lists by input name",
    ),
    "units": (_of(lambda value: isinstance(value, str)), 'a dict by column name, such as {"mass": "g"}'),
    "groups": (_of(_is_list), 'a dict of lists of columns by group name, such as {"size": ["length", "width"]}'),
    "categories": (_of(_is_list), 'a dict of lists by column name, such as {"plan": ["free", "pro"]}'),
    "missing": (_of(lambda value: value is not False), 'a dict by column name, such as {"age": "median"}'),
    "kinds": (_of(lambda value: isinstance(value, str)), 'a dict by input name, such as {"x": "image"}'),
    "ranges": (_of(lambda value: True), 'a dict by input name, such as {"image": (0, 1)}'),
    "description": (lambda value: isinstance(value, str), "a text"),
    "source": (lambda value: isinstance(value, str), "a text"),
    "version": (lambda value: type(value) is int and value >= 1, "a whole number from 1"),
    "budget_ms": (lambda value: isinstance(value, int | float) and value > 0, "a number of milliseconds above 0"),
    "budget_max_ms": (lambda value: isinstance(value, int | float) and value > 0, "a number of milliseconds above 0"),
    "folder": (_is_place, 'a path or an address, such as "models/churn" or "s3://bucket/models/churn"'),
    "artifacts": (lambda value: _is_place(value) and not is_address(value), 'a path, such as "artifacts"'),
}
OPTIONAL = ("unit", "features", "units", "groups", "categories", "missing", "kinds", "ranges")


def check_arguments(given: Mapping[str, Any]) -> None:
    """Raises InvalidInput for an argument of the wrong type, and says what to give. given: arguments by name."""
    for name, value in given.items():
        test, needed = ARGUMENTS.get(name, (lambda _: True, ""))
        if not (value is None and name in OPTIONAL) and not test(value):
            raise InvalidInput(f"{name} must be {needed}; a value of type {type(value).__name__} was given")


def is_frame(value: Any) -> bool:
    """Whether it is a DataFrame. pandas is the caller's, and is not imported here."""
    return hasattr(value, "columns") and hasattr(value, "dtypes")


def plain_array(value: Any) -> np.ndarray:
    """An array, of a tensor of torch on any device and in any precision too."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() and value.element_size() < 4 else value
    return np.asarray(value)


def plain_background(background: Any) -> Any:
    """A background with pandas tables and arrays in place of other tables, tensors and sparse matrices.

    Raises InvalidInput for anything else.
    """
    if isinstance(background, Mapping):
        if not background:
            raise InvalidInput("the background is an empty dict; give one array or DataFrame of rows for each input")
        return {name: _plain(each, f'the background of input "{name}"') for name, each in background.items()}
    return _plain(background, "the background")


def _plain(given: Any, place: str) -> Any:
    if hasattr(given, "to_pandas"):  # polars, pyarrow
        try:
            given = given.to_pandas()
        except ImportError as error:
            raise InvalidInput(
                f"{place} is a {type(given).__name__}, which needs pandas to be read: {error}"
            ) from error
    if is_frame(given):
        return _plain_frame(given, place)
    if hasattr(given, "toarray"):  # scipy.sparse
        given = given.toarray()
    if isinstance(given, tuple) and any(np.ndim(part) > 1 for part in given if hasattr(part, "shape")):
        raise InvalidInput(
            f"{place} is a tuple of arrays; give the array of an input, or a dict of arrays by input name"
        )
    if isinstance(given, list) and given and isinstance(given[0], Mapping):
        raise InvalidInput(f"{place} is a list of dicts; give a table: pandas.DataFrame(rows)")
    if not isinstance(given, list | tuple) and not hasattr(given, "__array__"):
        raise InvalidInput(
            f"{place} is of type {type(given).__name__}; give rows of real data as an array, a DataFrame, or a dict of"
            " them by input name"
        )
    try:
        return plain_array(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"{place} has rows of different lengths; give every row the same length") from error


def _plain_frame(frame: Any, place: str) -> Any:
    """A DataFrame whose columns are named by texts."""
    if getattr(frame.columns, "nlevels", 1) > 1:
        raise InvalidInput(
            f'{place} has columns of several levels; join them: frame.columns = ["_".join(map(str, c)) for c in'
            " frame.columns]"
        )
    if not len(frame.columns):
        raise InvalidInput(f"{place} is a table without columns; give a table with one column for each feature")
    frame = frame.set_axis([str(label) for label in frame.columns], axis=1)
    if not frame.columns.is_unique:
        return frame  # refused with the names of the columns
    frame = frame.infer_objects()  # numbers in columns of objects
    odd = [name for name in frame.columns if frame[name].dtype.kind in "mcV" or _holds_objects(frame[name])]
    if odd:
        raise InvalidInput(
            f"columns that are neither numbers nor texts: {', '.join(odd)}; replace each by columns of numbers (a time"
            " span by seconds, a list by one column for each element)"
        )
    return frame


def _holds_objects(column: Any) -> bool:
    values = column.dropna() if column.dtype == object else ()
    # Dates have a message of their own.
    return any(
        not isinstance(each, str | int | float | np.generic) and not hasattr(each, "isoformat") for each in values
    )
