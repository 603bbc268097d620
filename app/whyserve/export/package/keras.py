"""A Keras model → model.keras, whichever backend it was trained on."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from whyserve.errors import ModelFault, first_line
from whyserve.model.spec import KERAS_FILE


@dataclass(frozen=True, slots=True)
class KerasModel:
    """A Keras model as packaging sees it. names: its inputs', in its order; dtypes, shapes: theirs."""

    model: Any
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, model: Any) -> "KerasModel":
        """Raises ModelFault for a model without inputs of its own, or with a layer that a file cannot hold."""
        import keras  # noqa: PLC0415  # in the caller's process already, on the backend of the caller's choice

        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.Lambda) or not type(layer).__module__.startswith("keras."):
                what = "Lambda with" if isinstance(layer, keras.layers.Lambda) else f"{type(layer).__name__}, which is"
                raise ModelFault(
                    f'"{layer.name}" is a {what} Python code of your own, which no file may bring along;'
                    " build it from Keras's own layers and keras.ops"
                )
        if not model.built or not getattr(model, "inputs", None):
            raise ModelFault("the Keras model has no inputs yet; begin it with keras.Input(shape, name=...)")
        if any(size is None for tensor in model.inputs for size in tensor.shape[1:]):
            raise ModelFault("an input of the Keras model has a free dimension other than the rows; fix its size")
        names = tuple(tensor.name for tensor in model.inputs)
        shapes = tuple(tuple(tensor.shape[1:]) for tensor in model.inputs)
        return cls(model, names, tuple(str(tensor.dtype) for tensor in model.inputs), shapes)

    def run(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        from keras import ops  # noqa: PLC0415

        given = [arrays[name] for name in self.names]
        result = self.model(given if len(given) > 1 else given[0], training=False)
        if isinstance(result, list | tuple | dict):
            raise ModelFault(f"the network has {len(result)} outputs; it must have one, of (rows, outputs)")
        table: np.ndarray = ops.convert_to_numpy(result)
        return table

    def files(self, arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
        """model.keras. Raises ModelFault."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, KERAS_FILE)
            try:
                self.model.save(path)
            except Exception as error:
                raise ModelFault(f"Keras cannot save the model: {first_line(error)}") from error
            return {KERAS_FILE: path.read_bytes()}
