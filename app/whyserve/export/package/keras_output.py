"""The chosen output of a Keras model, as a model of its own. A .keras file holds its operations without code."""

import math
from typing import Any

import keras
from keras import ops

from whyserve.export.package.output_choice import Operations, OutputChoice

OPERATIONS = Operations(
    channels_last=True,
    tensor=keras.KerasTensor,
    reduce=lambda how, x, axes: getattr(ops, how)(x, axes),
    transpose=ops.transpose,
    flatten=lambda x, first: ops.reshape(x, (-1, *x.shape[1:first], math.prod(x.shape[first:]))),
    take=lambda x, places: ops.take(x, places, -1),
    column=lambda x: ops.expand_dims(x, 1),
    cast=ops.cast,
    join=lambda parts: ops.concatenate(parts, -1),
)


def chosen_output(model: Any, choice: OutputChoice) -> Any:
    """A model with the same inputs that returns (rows,) or (rows, outputs). Raises ModelFault, InvalidInput."""
    returned = getattr(model, "_outputs_struct", model.outputs)
    names = getattr(model, "output_names", ())  # of the last layers
    if isinstance(returned, list | tuple) and len(set(names)) == len(returned) == len(model.outputs):
        returned = dict(zip(names, returned, strict=True))
    (first, *others) = model.outputs
    output = choice.of(returned, {tensor.name: tensor for tensor in model.inputs}, OPERATIONS)
    given = model.inputs if len(model.inputs) > 1 else model.inputs[0]
    return model if output is first and not others else keras.Model(given, output)
