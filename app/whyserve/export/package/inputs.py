"""The inputs of a network, described for model.toml from the background and the arguments of `package`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.export.package.background import ENCODE
from whyserve.export.package.ids import Whole, set_whole
from whyserve.model.input_spec import has_features, has_range
from whyserve.model.rows import Arrays
from whyserve.model.spec import TOKENIZER_FILE

Described = dict[str, Any]


def describe_inputs(
    arrays: Arrays,
    columns: Mapping[str, list[Described]],
    whole: Whole,
    *,
    features: Mapping[str, Sequence[str]] | Sequence[str] | None,
    units: Mapping[str, str],
    groups: Mapping[str, Sequence[str]],
    kinds: Mapping[str, str],
    ranges: Mapping[str, tuple[float, float]],
    texts: Mapping[str, str],
) -> tuple[list[Described], tuple[str, ...]]:
    """[[inputs]] of model.toml, and notes for people on what was guessed.

    arrays: the background by input. columns: the features of each input that came as a DataFrame.
    whole: the columns that are cast to integers.
    texts: the kind of each input that is sent as text, by name. The others are arguments of `package`.
    Raises InvalidInput.
    """
    kinds = {**kinds, **texts}
    inputs = []
    for name, array in arrays.items():
        names = features.get(name) if isinstance(features, Mapping) else features if len(arrays) == 1 else None
        described = _describe(name, array, columns.get(name), names, kinds.get(name) or kind_of(array))
        inputs.append({**described, "tokenizer": TOKENIZER_FILE} if name in texts else described)
    set_whole({item["name"]: item.get("features", []) for item in inputs}, whole)
    _set_in_features(inputs, "units", [(name, "unit", unit) for name, unit in units.items()])
    members = [(name, "group", group) for group, names in groups.items() for name in names]
    _set_in_features(inputs, "groups", members)
    return inputs, _set_ranges(inputs, arrays, ranges)


def kind_of(array: np.ndarray) -> str:
    """The most likely kind of an input. array: its background, (rows, *shape)."""
    shape = array.shape[1:]
    if len(shape) == 1:
        return "tabular"
    if len(shape) == 2:
        return "sequence"
    image = len(shape) == 3 and (shape[-1] in {1, 3, 4} or shape[0] in {1, 3, 4}) and array.dtype != bool
    return "image" if image else "tensor"


def range_of(images: np.ndarray) -> tuple[float, float]:
    """The most likely numbers for black and white. images: of the background."""
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high <= 1 and images.dtype.kind == "f":
        return 0.0, 1.0
    if images.dtype == np.uint8 or (low >= 0 and 127 < high <= 255):
        return 0.0, 255.0
    return (low, high) if low < high else (low, low + 1)


def _describe(name: str, array: np.ndarray, columns: Any, names: Sequence[str] | None, kind: str) -> Described:
    shape = array.shape[1:]
    described = {"name": name, "kind": kind, "dtype": str(array.dtype)}
    if not has_features(kind):
        return {**described, "shape": list(shape)}
    if names is not None and len(names) != shape[0]:
        raise InvalidInput(
            f'features has {len(names)} names for input "{name}", but its background has {shape[0]} columns;'
            " name each column once"
        )
    if columns is None:
        columns = [{"name": str(n)} for n in (names or [f"{name}_{number}" for number in range(shape[0])])]
    categories = [column["name"] for column in columns if "categories" in column]
    if categories and array.dtype.kind not in "iu":
        raise InvalidInput(
            f'input "{name}" takes {array.dtype}, but the column "{categories[0]}" of its background holds categories;'
            f" {ENCODE}"
        )
    return {**described, "features": columns}


def _set_in_features(inputs: list[Described], argument: str, values: Sequence[tuple[str, str, str]]) -> None:
    """Set (feature name, key, value) in the features. argument: of `package`, for messages."""
    features = {feature["name"]: feature for item in inputs for feature in item.get("features", ())}
    for name, key, value in values:
        if name not in features:
            raise InvalidInput(_unknown(argument, name, "feature", list(features)))
        features[name][key] = value


def _set_ranges(inputs: list[Described], arrays: Arrays, ranges: Mapping[str, Any]) -> tuple[str, ...]:
    """Give each image its range. Returns a note for each range that was guessed."""
    notes = []
    images = {item["name"]: item for item in inputs if has_range(item["kind"])}
    for name in ranges:
        if name not in images:
            raise InvalidInput(_unknown("ranges", name, "image input", list(images)))
    for name, item in images.items():
        item["range"] = [float(end) for end in ranges.get(name) or range_of(arrays[name])]
        if name not in ranges:
            black, white = item["range"]
            notes.append(
                f'input "{name}": black is {black:g} and white is {white:g}, guessed from the background;'
                " set ranges to change them"
            )
    return tuple(notes)


def _unknown(argument: str, name: str, what: str, known: Sequence[str]) -> str:
    names = f"the {what}s are {', '.join(known[:20])}" if known else f"there is no {what}"
    return f'{argument} names "{name}", which is not {"an" if what[0] in "aeiou" else "a"} {what}; {names}'
