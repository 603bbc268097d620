"""The inputs of a network, described for model.toml from the background and the arguments of `package`."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.export.package.background import ENCODE
from whyserve.export.package.trials import Tried
from whyserve.model.input_spec import has_features, has_range
from whyserve.model.rows import Arrays
from whyserve.model.spec import TOKENIZER_FILE

Described = dict[str, Any]
NONE: Mapping[str, Any] = MappingProxyType({})


def describe_inputs(
    tried: Tried,
    features: Mapping[str, Sequence[str]] | Sequence[str] | None,
    *,
    units: Mapping[str, str] = NONE,
    groups: Mapping[str, Sequence[str]] = NONE,
    kinds: Mapping[str, str] = NONE,
    ranges: Mapping[str, Sequence[Any]] = NONE,
    texts: Mapping[str, str] = NONE,
) -> tuple[list[Described], tuple[str, ...]]:
    """[[inputs]] of model.toml, and notes for people on what was guessed.

    texts: the kind of each input that is sent as text, by name. The others are arguments of `package`.
    Raises InvalidInput.
    """
    arrays = tried.arrays
    for argument, given in (("kinds", kinds), ("features", features if isinstance(features, Mapping) else {})):
        if unknown := [name for name in given if name not in arrays]:
            raise InvalidInput(_unknown(argument, ", ".join(unknown), "input", list(arrays)))
    kinds = {**kinds, **texts}
    inputs = []
    for name, array in arrays.items():
        names = features.get(name) if isinstance(features, Mapping) else features if len(arrays) == 1 else None
        described = _describe(name, array, tried.columns.get(name), names, kinds.get(name) or kind_of(array))
        inputs.append({**described, "tokenizer": TOKENIZER_FILE} if name in texts else described)
        for column in tried.whole.get(name, ()) if "features" in described else ():
            if not described["features"][column].get("boolean"):
                described["features"][column]["whole"] = True
    by_name = {feature["name"]: feature for item in inputs for feature in item.get("features", ())}
    group_of = {name: group for group, members in groups.items() for name in members}
    for argument, key, values in (("units", "unit", units), ("groups", "group", group_of)):
        if unknown := [name for name in values if name not in by_name]:
            raise InvalidInput(_unknown(argument, ", ".join(unknown), "feature", list(by_name)))
        for name, value in values.items():
            by_name[name][key] = value
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
            f'features has {len(names)} names for input "{name}" ({", ".join(map(str, names))}), but its background has'
            f" {shape[0]} columns; name each column once"
        )
    own = [column["name"] for column in columns or ()]
    if names is not None and own and list(map(str, names)) != own:
        raise InvalidInput(
            f'features of input "{name}" are {", ".join(map(str, names))}, but the columns of its background are'
            f" {', '.join(own)}; leave features out, or give the columns in the order of features"
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


def _set_ranges(inputs: list[Described], arrays: Arrays, ranges: Mapping[str, Any]) -> tuple[str, ...]:
    """Give each image its range. Returns a note for each range that was guessed."""
    notes = []
    images = {item["name"]: item for item in inputs if has_range(item["kind"])}
    for name in ranges:
        if name not in images:
            raise InvalidInput(_unknown("ranges", name, "image input", list(images)))
    for name, item in images.items():
        item["range"] = _range(name, ranges[name]) if name in ranges else list(range_of(arrays[name]))
        if name not in ranges:
            black, white = item["range"]
            notes.append(
                f'input "{name}": black is {black:g} and white is {white:g}, guessed from the background;'
                " set ranges to change them"
            )
    return tuple(notes)


def _range(name: str, given: Any) -> list[Any]:
    """[black, white], or a list of one such pair for each channel. Raises InvalidInput."""
    try:
        pairs = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        pairs = np.empty(0)
    if pairs.ndim not in {1, 2} or pairs.shape[-1] != 2 or not (pairs[..., 0] < pairs[..., 1]).all():
        raise InvalidInput(
            f'ranges of "{name}" must be (black, white) with black less than white, or a list of one such pair for'
            " each channel"
        )
    found: list[Any] = pairs.tolist()
    return found


def _unknown(argument: str, name: str, what: str, known: Sequence[str]) -> str:
    names = f"the {what}s are {', '.join(known[:20])}" if known else f"there is no {what}: leave {argument} out"
    return f'{argument} names "{name}", which is not {"an" if what[0] in "aeiou" else "a"} {what}; {names}'
