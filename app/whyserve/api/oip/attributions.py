"""Explanations as tensors.

R is the number of rows, K the number of explained outputs per row. `attributions` is (R, *input shape, K). A model with
several inputs has one tensor per input, `attributions.<input>`. A feature group has one value: it is at the group's
first feature, and the other features have 0, so that the sum over a row is the sum of its attributions. `interactions`,
if they were requested, is (R, players, players, K). A row with fewer than K explained outputs has outputs with an empty
name and zeros. `reasons`, `similar` and `more_unusual_share`, if the request wants them, are (R,) BYTES: JSON of each
row.

If the request or the model names players, `attributions` is (R, players, K) for all inputs together, and `players` has
the name of each, (R, players) BYTES. A row with fewer players ends with empty names and zeros.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from whyserve.model.outputs import same_outputs
from whyserve.model.players import by_player, names_players
from whyserve.model.spec import ModelSpec

INPUT_SHAPED = ("attributions", "standard_errors")
# Fields of an explanation that become tensors (R,) of JSON.
AS_JSON = ("reasons", "similar", "more_unusual_share")


def names_of(spec: ModelSpec) -> list[str]:
    """The names of all possible tensors, in order."""
    return [
        *_shaped(spec, INPUT_SHAPED[0]),
        "base_values",
        "residuals",
        "values",
        "outputs",
        *_shaped(spec, INPUT_SHAPED[1]),
        "interactions",
        *([] if len(spec.inputs) == 1 else INPUT_SHAPED),
        "players",
        *AS_JSON,
    ]


def _shaped(spec: ModelSpec, name: str) -> list[str]:
    """The names of the tensors that are shaped like the inputs."""
    return [f"{name}.{item.name}" for item in spec.inputs] if len(spec.inputs) > 1 else [name]


def tensors_of(spec: ModelSpec, explanations: Sequence[Any]) -> dict[str, np.ndarray]:
    """By name. explanations: as in the answer of /explain. Only methods that sample have standard_errors.

    Raises InvalidInput if no output is explained.
    """
    table = same_outputs([row["outputs"] for row in explanations], 0.0)

    def scalars(key: str) -> np.ndarray:
        return np.array([[output[key] for output in outputs] for outputs in table])

    found = {
        "base_values": scalars("base_value"),
        "residuals": scalars("residual"),
        "values": scalars("value"),
        "outputs": np.array([[output["output"].encode() for output in outputs] for outputs in table], dtype=object),
    }
    if "interactions" in table[0][0]:
        found["interactions"] = np.moveaxis(scalars("interactions"), 1, -1)
    for name in AS_JSON:
        if name in explanations[0]:
            found[name] = np.array([orjson.dumps(row[name]) for row in explanations], dtype=object)
    elements = {key for item in spec.inputs for key in item.attribution_forms()}
    if any(names_players(output) or set(output["attributions"]) != elements for outputs in table for output in outputs):
        return found | _of_players(table)
    for name in INPUT_SHAPED:
        if name not in table[0][0]:
            continue
        by_input = [[_values(spec, output[name]) for output in outputs] for outputs in table]
        for place, tensor in enumerate(_shaped(spec, name)):
            shaped = np.array([[each[place] for each in values] for values in by_input])
            found[tensor] = np.moveaxis(shaped, 1, -1)
    return found


def _of_players(table: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, np.ndarray]:
    """`players`, (R, players), and attributions and standard errors of them, (R, players, K)."""
    rows = [[by_player(output) for output in outputs] for outputs in table]
    width = max(len(outputs[0]) for outputs in rows)
    names = [[name.encode() for name, *_ in outputs[0]] for outputs in rows]
    found = {"players": np.array([[*row, *[b""] * (width - len(row))] for row in names], dtype=object)}
    for place, name in enumerate(INPUT_SHAPED, 1):
        if name in table[0][0]:
            numbers = [[[each[place] for each in output] for output in outputs] for outputs in rows]
            padded = [[[*output, *[0.0] * (width - len(output))] for output in outputs] for outputs in numbers]
            found[name] = np.moveaxis(np.array(padded, np.float64), 1, -1)
    return found


def _values(spec: ModelSpec, by_key: Mapping[str, Any]) -> list[Any]:
    """Values by key → one nested list per input, of the input's shape."""
    remaining = dict(by_key)  # take_values removes a group's value, so that it is used once
    return [item.take_values(remaining) for item in spec.inputs]
