"""An explanation's answer ⇄ typed tensors.

Shapes: R rows, K outputs explained a row. `attributions` is (R, *shape of the input, K); with several inputs there
is one each, `attributions.<input>`. A group of features has one value: it stands at the group's first feature, and
0 at its others, so that the sum over a row is what its attributions add up to.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from whyserve.model.spec import ModelSpec

SHAPED = ("attributions", "standard_errors")


def names_of(spec: ModelSpec) -> list[str]:
    """The tensors that there may be, in their order."""
    return [*_shaped(spec, SHAPED[0]), "base_values", "residuals", "values", "outputs", *_shaped(spec, SHAPED[1])]


def _shaped(spec: ModelSpec, name: str) -> list[str]:
    """The names of the tensors that are shaped like the inputs."""
    return [f"{name}.{item.name}" for item in spec.inputs] if len(spec.inputs) > 1 else [name]


def tensors_of(spec: ModelSpec, explanations: Sequence[Any]) -> dict[str, np.ndarray]:
    """explanations: as /explain answers. standard_errors are there where the method samples."""
    table = [row["outputs"] for row in explanations]

    def scalars(key: str) -> np.ndarray:
        return np.array([[output[key] for output in outputs] for outputs in table])

    found = {
        "base_values": scalars("base_value"),
        "residuals": scalars("residual"),
        "values": scalars("value"),
        "outputs": np.array([[output["output"].encode() for output in outputs] for outputs in table], dtype=object),
    }
    for name in SHAPED:
        if name not in table[0][0]:
            continue
        for place, tensor in enumerate(_shaped(spec, name)):
            shaped = np.array([[_values(spec, output[name])[place] for output in outputs] for outputs in table])
            found[tensor] = np.moveaxis(shaped, 1, -1)
    return found


def _values(spec: ModelSpec, by_key: Mapping[str, Any]) -> list[Any]:
    """Values by key of an instance → values by input, of its shape."""
    left = dict(by_key)  # a group's value is taken once
    return [item.take_values(left) for item in spec.inputs]
