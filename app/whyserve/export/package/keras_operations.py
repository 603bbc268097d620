"""Keras models made of a Keras model: with one output, behind other layers, in float32. A .keras file can hold them."""

import math
from typing import Any

import keras  # the caller has imported it, on a backend of the caller's choice
from keras import ops

from whyserve.export.package.operations import Operations
from whyserve.export.package.output_choice import OutputChoice
from whyserve.export.package.preprocess import Front

POLICIES = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")


def _lookup(table: Any, codes: Any) -> Any:
    layer = keras.layers.Embedding(*table.shape, dtype="float64", trainable=False)
    found = layer(codes)
    layer.set_weights([table])
    return found


OPERATIONS = Operations(
    channels_last=True,
    tensor=keras.KerasTensor,
    constant=lambda array: array,
    reduce=lambda how, x, axes: getattr(ops, how)(x, axes),
    transpose=ops.transpose,
    flatten=lambda x, first: ops.reshape(x, (-1, *x.shape[1:first], math.prod(x.shape[first:]))),
    take=lambda x, places: ops.take(x, places, -1),
    column=lambda x: ops.expand_dims(x, 1),
    cast=ops.cast,
    join=lambda parts: ops.concatenate(parts, -1) if len(parts) > 1 else parts[0],
    lookup=_lookup,
    clip=lambda x, low, high: ops.minimum(ops.maximum(x, low), high),
    fill=lambda x, value: ops.where(ops.isnan(x), value, x),
)


def chosen_output(model: Any, choice: OutputChoice) -> Any:
    """A model with the same inputs that returns (rows,) or (rows, outputs). Raises ModelFault, InvalidInput."""
    returned = getattr(model, "_outputs_struct", model.outputs)
    names = getattr(model, "output_names", ())  # of the last layers
    if isinstance(returned, list | tuple) and len(set(names)) == len(returned) == len(model.outputs):
        returned = dict(zip(names, returned, strict=True))
    (first, *others) = model.outputs
    output = choice.of(returned, {tensor.name: tensor for tensor in model.inputs}, OPERATIONS)
    return model if output is first and not others else keras.Model(one_or_all(model.inputs), output)


def front_model(front: Front, dtype: str) -> Any:
    """The layers of `preprocess` as a Keras model. dtype: of its output."""
    inputs = {name: keras.Input(shape, dtype=kind, name=name) for name, (kind, shape) in front.inputs.items()}
    return keras.Model(one_or_all(list(inputs.values())), front.applied(inputs, OPERATIONS, dtype))


def one_or_all(inputs: list[Any]) -> Any:
    """The inputs in the form in which Keras takes them."""
    return inputs if len(inputs) > 1 else inputs[0]


def half_policy(model: Any) -> str | None:
    """The half-precision type in which a layer of the model computes, if there is one."""
    dtypes = {str(layer.dtype_policy.compute_dtype) for layer in model._flatten_layers()}
    return next((name for name in POLICIES if name in dtypes), None)


def in_float32(model: Any) -> Any:
    """The model with the same weights and the policy float32 in place of those of half precision."""
    copied = type(model).from_config(_without_half(model.get_config()))
    copied.set_weights([ops.convert_to_numpy(ops.cast(each, "float32")) for each in model.weights])
    return copied


def _without_half(config: Any) -> Any:
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return "float32" if "float16" in config["config"]["name"] else config
        return {key: _without_half(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_without_half(value) for value in config)
    return "float32" if isinstance(config, str) and config in POLICIES else config
