"""Explanations as tensors.

R is the number of rows, K the number of explained outputs per row. `attributions` is (R, *input shape, K). A model with
several inputs has one tensor per input, `attributions.<input>`. A feature group has one value: it is at the group's
first feature, and the other features have 0, so that the sum over a row is the sum of its attributions. `interactions`,
if they were requested, is (R, players, players, K). A row with fewer than K explained outputs has outputs with an empty
name and zeros. `reasons`, `similar` and `more_unusual_share`, if the request wants them, are (R,) BYTES: JSON of each
row.

If the request or the model names players, `attributions` is (R, players, K) for all inputs together, and `players` has
the name of each, (R, players) BYTES. A row with fewer players ends with empty names and zeros. The groups of a tree of
players are in the same form: `groups`, `group_attributions` and `group_standard_errors`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from whyserve.model.outputs import same_outputs
from whyserve.model.players import by_player, names_players
from whyserve.model.spec import ModelSpec

INPUT_SHAPED = ("attributions", "standard_errors")
OF_GROUPS = ("groups", "group_attributions", "group_standard_errors")
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
        *OF_GROUPS,
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
    trees = [[output.get("tree", ()) for output in outputs] for outputs in table]
    if any(tree for outputs in trees for tree in outputs):
        groups = [[[(g["group"], g["value"], g["standard_error"]) for g in tree] for tree in row] for row in trees]
        found |= _listed(groups, OF_GROUPS)
    elements = {key for item in spec.inputs for key in item.attribution_forms()}
    if any(names_players(output) or set(output["attributions"]) != elements for outputs in table for output in outputs):
        names = [name for name in INPUT_SHAPED if name in table[0][0]]
        return found | _listed([[by_player(output) for output in row] for row in table], ["players", *names])
    for name in INPUT_SHAPED:
        if name not in table[0][0]:
            continue
        by_input = [[_values(spec, output[name]) for output in outputs] for outputs in table]
        for place, tensor in enumerate(_shaped(spec, name)):
            shaped = np.array([[each[place] for each in values] for values in by_input])
            found[tensor] = np.moveaxis(shaped, 1, -1)
    return found


def _listed(rows: Sequence[Sequence[Sequence[Sequence[Any]]]], names: Sequence[str]) -> dict[str, np.ndarray]:
    """The first tensor of `names` are labels, (R, entries); the others are numbers, (R, entries, K).

    rows: by row and output, a list of entries: a label, and a number for each of the other tensors.
    """
    width = max(len(outputs[0]) for outputs in rows)
    labels = np.full((len(rows), width), b"", dtype=object)
    numbers = np.zeros((len(names) - 1, len(rows), width, len(rows[0])))
    for row, outputs in enumerate(rows):
        labels[row, : len(outputs[0])] = [label.encode() for label, *_ in outputs[0]]
        for column, entries in enumerate(outputs):
            numbers[:, row, : len(entries), column] = np.transpose([entry[1 : len(names)] for entry in entries])
    return dict(zip(names, [labels, *numbers], strict=True))


def _values(spec: ModelSpec, by_key: Mapping[str, Any]) -> list[Any]:
    """Values by key → one nested list per input, of the input's shape."""
    remaining = dict(by_key)  # take_values removes a group's value, so that it is used once
    return [item.take_values(remaining) for item in spec.inputs]
