"""A Keras model with a policy of half precision, such as mixed_float16, built again in float32."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from whyserve.export.package.precision import compared

# The distance between 1 and the next larger number.
ROUNDING = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
POLICIES = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")


def half_policy(model: Any) -> str | None:
    """The half-precision type in which a layer of the model computes, if there is one."""
    dtypes = {str(layer.dtype_policy.compute_dtype) for layer in model._flatten_layers()}
    return next((name for name in ROUNDING if name in dtypes), None)


def in_float32(model: Any) -> Any:
    """The model with the same weights and the policy float32 in place of those of half precision."""
    from keras import ops  # noqa: PLC0415

    copied = type(model).from_config(_without_half(model.get_config()))
    copied.set_weights([ops.convert_to_numpy(ops.cast(each, "float32")) for each in model.weights])
    return copied


def compared_policies(network: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """[precision] of model.toml. network: a KerasModel with its `original`."""
    dtype = half_policy(network.original)
    assert dtype is not None, "only a model of half precision has an original"
    from keras import ops  # noqa: PLC0415

    given = [arrays[name] for name in network.names]
    original = ops.cast(network.original(given if len(given) > 1 else given[0], training=False), "float32")
    return compared(ops.convert_to_numpy(original), network.run(arrays), dtype, ROUNDING[dtype])


def _without_half(config: Any) -> Any:
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return "float32" if "float16" in config["config"]["name"] else config
        return {key: _without_half(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_without_half(value) for value in config)
    return "float32" if isinstance(config, str) and config in POLICIES else config
