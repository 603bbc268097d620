"""The chosen output of a Keras model, as a model of its own. A .keras file holds its operations without code."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from whyserve.export.package.output_choice import OutputChoice


def chosen_output(model: Any, choice: OutputChoice) -> Any:
    """A model with the same inputs that returns (rows,) or (rows, outputs). Raises ModelFault, InvalidInput."""
    returned = getattr(model, "_outputs_struct", model.outputs)
    names = getattr(model, "output_names", ())  # of the last layers
    if isinstance(returned, list | tuple) and len(set(names)) == len(returned) == len(model.outputs):
        returned = dict(zip(names, returned, strict=True))
    (first, *others) = model.outputs
    output = choice.of(returned, {tensor.name: tensor for tensor in model.inputs}, KerasOperations())
    given = model.inputs if len(model.inputs) > 1 else model.inputs[0]
    return model if output is first and not others else keras.Model(given, output)


class KerasOperations:
    channels_last = True

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, keras.KerasTensor)

    def reduce(self, how: str, x: Any, axes: tuple[int, ...]) -> Any:
        return getattr(ops, how)(x, axes)

    def transpose(self, x: Any, axes: tuple[int, ...]) -> Any:
        return ops.transpose(x, axes)

    def flatten(self, x: Any, first: int) -> Any:
        return ops.reshape(x, (-1, *x.shape[1:first], math.prod(x.shape[first:])))

    def take(self, x: Any, places: Sequence[int]) -> Any:
        return ops.take(x, list(places), -1)

    def column(self, x: Any) -> Any:
        return ops.expand_dims(x, 1)

    def like(self, x: Any, other: Any) -> Any:
        return ops.cast(x, other.dtype)

    def join(self, parts: Sequence[Any]) -> Any:
        return ops.concatenate(list(parts), -1)
