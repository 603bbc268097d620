"""The players of a model: the parts of its inputs that get one attribution each."""

import math
from typing import Any

import numpy as np

from whyserve.model.spec import ModelSpec

# A number of 64 bits with its comma, as JSON: somewhat more than measured.
NUMBER_BYTES = 23


def player_numbers(spec: ModelSpec) -> dict[str, np.ndarray]:
    """The player of each element, by input, with the shape of a row.

    Players are numbered from 0 in the order of the inputs, row-major. A group is one player. It has the number of its
    first feature.
    """
    numbers: dict[str, np.ndarray] = {}
    number_of: dict[str, int] = {}
    count = 0
    for item in spec.inputs:
        if (keys := item.player_keys) is not None:
            new = [key for key in dict.fromkeys(keys) if key not in number_of]
            number_of.update(zip(new, range(count, count + len(new)), strict=True))
            count += len(new)
            flat = np.array([number_of[key] for key in keys])
        else:
            flat = np.arange(count, count + int(np.prod(item.shape)))
            count += flat.size
        numbers[item.name] = flat.reshape(item.row_shape)
    return numbers


def player_names(spec: ModelSpec) -> tuple[str, ...]:
    """The name of each player, in the players' order."""
    names: dict[str, None] = {}
    for item in spec.inputs:
        for key, form in item.attribution_forms().items():
            names.update(dict.fromkeys(key + "".join(f"[{i}]" for i in place) for place in np.ndindex(form.shape)))
    return tuple(names)


def attribution_bytes(spec: ModelSpec) -> int:
    """The size of one output's attributions as JSON, without those of texts, whose number of tokens differs."""
    forms = [each for item in spec.inputs for each in item.attribution_forms().items()]
    return sum(len(key.encode()) + 4 + (0 if form.tokens else _nested_bytes(form.shape)) for key, form in forms)


def _nested_bytes(shape: tuple[int, ...]) -> int:
    """The size of numbers in nested lists, each with two brackets and a comma."""
    lists = sum(math.prod(shape[:depth]) for depth in range(len(shape)))
    return 3 * lists + NUMBER_BYTES * math.prod(shape)


class ByKey:
    """Values by player, (players,) → values by key, in the shapes of a row; a group has one value, under its name."""

    def __init__(self, spec: ModelSpec) -> None:
        self._inputs = [
            (item, item.player_keys if item.is_tabular else None, numbers)
            for item, numbers in zip(spec.inputs, player_numbers(spec).values(), strict=True)
        ]

    def __call__(self, values: np.ndarray) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for item, keys, numbers in self._inputs:
            own = values[numbers].tolist()
            row.update(item.attributions(own) if keys is None else zip(keys, own, strict=True))
        return row


def by_key(spec: ModelSpec, values: np.ndarray) -> dict[str, Any]:
    """The same, for one row."""
    return ByKey(spec)(values)
