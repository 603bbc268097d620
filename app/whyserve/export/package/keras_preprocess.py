"""The layers of `preprocess` in front of a Keras model: layers and operations of Keras, which a model file can hold."""

from typing import Any

import keras  # the caller has imported it, on a backend of the caller's choice
from keras import ops

from whyserve.export.package.preprocess import CATEGORIES, NUMBERS, Front
from whyserve.export.package.transformers import FILL, HIGH, LOW, SCALE, SHIFT, SOURCE


def front_model(front: Front, dtype: str) -> Any:
    """The layers as a Keras model. dtype: of its output."""
    inputs = {name: keras.Input(shape, dtype=kind, name=name) for name, (kind, shape) in front.inputs.items()}
    parts = []
    if front.has(SCALE):
        x = ops.take(inputs[NUMBERS], front.steps[SOURCE].astype(int), axis=1)
        x = ops.add(ops.multiply(x, front.steps[SCALE]), front.steps[SHIFT])
        if front.has(LOW, HIGH):
            x = ops.minimum(ops.maximum(x, front.steps[LOW]), front.steps[HIGH])
        parts.append(ops.where(ops.isnan(x), front.steps[FILL], x) if front.has(FILL) else x)
    for number, table in enumerate(front.tables):
        lookup = keras.layers.Embedding(*table.shape, dtype="float64", trainable=False)
        parts.append(lookup(inputs[CATEGORIES][:, number]))
        lookup.set_weights([table])
    joined = ops.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
    given = list(inputs.values())
    return keras.Model(given if len(given) > 1 else given[0], ops.cast(ops.take(joined, front.order, axis=1), dtype))
