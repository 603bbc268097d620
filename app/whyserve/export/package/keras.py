"""A Keras model of any backend → model.keras."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import keras  # the caller has imported it, on a backend of the caller's choice
import numpy as np

from whyserve.errors import ModelFault, first_line
from whyserve.export.package.keras_code import KerasCode
from whyserve.export.package.keras_front import without_front
from whyserve.export.package.keras_graph import as_taken
from whyserve.model.spec import KERAS_FILE


def _has_code(layer: Any) -> bool:
    """Whether a layer has Python code of the caller: its class, its function, or a part such as an initializer."""
    parts = (FunctionType, keras.Initializer, keras.regularizers.Regularizer, keras.constraints.Constraint)
    held = (value for value in vars(layer).values() if isinstance(value, parts))
    owners = [type(layer), *(each if isinstance(each, FunctionType) else type(each) for each in held)]
    return any(not str(each.__module__).startswith("keras.") for each in owners)


def _check_layers(layers: Sequence[Any]) -> None:
    """Raises ModelFault for a layer that keeps a state between calls."""
    for layer in layers:
        if getattr(layer, "stateful", False):
            raise ModelFault(
                f'layer "{layer.name}" ({type(layer).__name__}) is stateful, so an answer depends on earlier requests;'
                " build the model with stateful=False, and copy the weights with set_weights(old.get_weights())"
            )


@dataclass(frozen=True, slots=True)
class KerasModel:
    """A Keras model. names, dtypes, shapes (without the rows): of its inputs, in the order of the model.

    front: of a model that had preprocessing layers.
    """

    model: Any
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    front: Any = None

    framework = "keras"

    @classmethod
    def of(cls, model: Any) -> "KerasModel | KerasCode":
        """Raises ModelFault for a model that was not called, an input of variable size, and a state between calls."""
        front = None
        if (found := without_front(model)) is not None:
            model, front = found
        layers = model._flatten_layers()
        _check_layers(layers)
        if not model.built or not getattr(model, "inputs", None):
            return KerasCode.of_subclass(model)
        for tensor in model.inputs:
            if tensor.ragged or tensor.sparse:
                raise ModelFault(
                    f'input "{tensor.name}" of the Keras model is ragged or sparse; give the rows one length with'
                    " padding, and use a keras.Input of that shape"
                )
            if None in tensor.shape[1:]:
                raise ModelFault(
                    f'input "{tensor.name}" of the Keras model has shape {tuple(tensor.shape)}; only the number of'
                    " rows, dimension 0, may be None"
                )
        names = tuple(tensor.name for tensor in model.inputs)
        shapes = tuple(tuple(tensor.shape[1:]) for tensor in model.inputs)
        dtypes = tuple(str(tensor.dtype) for tensor in model.inputs)
        if any(_has_code(layer) for layer in layers):
            return KerasCode(model, names, (as_taken(model, names),), dtypes, shapes, front)
        return cls(model, names, dtypes, shapes, front)

    def run(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The output for rows, (rows, …) by input. Raises ModelFault, and whatever Keras raises."""
        given = as_taken(self.model, [arrays[name] for name in self.names])
        result = self.model(given, training=False)
        if isinstance(result, list | tuple | dict):
            raise ModelFault(f"the network has {len(result)} outputs; one of shape (rows, outputs) is needed")
        table: np.ndarray = keras.ops.convert_to_numpy(result)
        return table

    def files(self, arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
        """The content of model.keras. Raises ModelFault."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, KERAS_FILE)
            try:
                self.model.save(path)
            except Exception as error:
                raise ModelFault(f"Keras cannot save the model: {first_line(error)}") from error
            return {KERAS_FILE: path.read_bytes()}
