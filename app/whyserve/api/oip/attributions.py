"""Explanations as tensors.

R is the number of rows, K the number of explained outputs per row. `attributions` is (R, *input shape, K). A model with
several inputs has one tensor per input, `attributions.<input>`. A feature group has one value: it is at the group's
first feature, and the other features have 0, so that the sum over a row is the sum of its attributions. A row with
fewer than K explained outputs has outputs with an empty name and zeros. `reasons`, `similar` and
`more_unusual_share`, if the request wants them, are (R,) BYTES: JSON of each row.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from whyserve.model.outputs import same_outputs
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
    for name in AS_JSON:
        if name in explanations[0]:
            found[name] = np.array([orjson.dumps(row[name]) for row in explanations], dtype=object)
    for name in INPUT_SHAPED:
        if name not in table[0][0]:
            continue
        for place, tensor in enumerate(_shaped(spec, name)):
            shaped = np.array([[_values(spec, output[name])[place] for output in outputs] for outputs in table])
            found[tensor] = np.moveaxis(shaped, 1, -1)
    return found


def _values(spec: ModelSpec, by_key: Mapping[str, Any]) -> list[Any]:
    """Values by key → one nested list per input, of the input's shape."""
    remaining = dict(by_key)  # take_values removes a group's value, so that it is used once
    return [item.take_values(remaining) for item in spec.inputs]
