"""A Keras model of any backend → model.keras."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar

import keras  # the caller has imported it, on a backend of the caller's choice
import numpy as np

from whyserve.errors import InvalidInput, ModelFault, first_line
from whyserve.export.comparison import ROUNDING, compared
from whyserve.export.package.keras_code import KerasCode
from whyserve.export.package.keras_copy import twin
from whyserve.export.package.keras_front import without_front
from whyserve.export.package.keras_graph import as_taken, graph_of
from whyserve.export.package.keras_operations import chosen_output, front_model, half_policy, in_float32
from whyserve.export.package.output_choice import OutputChoice
from whyserve.model.spec import KERAS_FILE


def _has_code(layer: Any) -> bool:
    """Whether a layer has Python code of the caller: its class, its function, or a part such as an initializer."""
    parts = (FunctionType, keras.Initializer, keras.regularizers.Regularizer, keras.constraints.Constraint)
    held = (value for value in vars(layer).values() if isinstance(value, parts))
    owners = [type(layer), *(each if isinstance(each, FunctionType) else type(each) for each in held)]
    return any(not str(each.__module__).startswith("keras.") for each in owners)


@dataclass(frozen=True, slots=True)
class KerasModel:
    """A Keras model. names, dtypes, shapes (without the rows): of its inputs, in the order of the model.

    front: of a model that had preprocessing layers.
    original: the caller's model, if its policy is half precision and `model` is its copy in float32.
    """

    framework: ClassVar[str] = "keras"
    model: Any
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    original: Any = None
    front: Any = None

    @classmethod
    def of(cls, model: Any) -> "KerasModel | KerasCode":
        """Raises ModelFault for a model that was not called, an input of variable size, and a state between calls."""
        front = None
        if (found := without_front(model)) is not None:
            model, front = found
        layers = model._flatten_layers()
        for layer in layers:
            if getattr(layer, "stateful", False):
                raise ModelFault(
                    f'layer "{layer.name}" ({type(layer).__name__}) is stateful, so an answer depends on earlier'
                    " requests; build the model with stateful=False, and copy the weights with"
                    " set_weights(old.get_weights())"
                )
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
        original = model if half_policy(model) else None
        model = model if original is None else in_float32(model)
        names = tuple(tensor.name for tensor in model.inputs)
        shapes = tuple(tuple(tensor.shape[1:]) for tensor in model.inputs)
        dtypes = tuple(str(tensor.dtype) for tensor in model.inputs)
        if any(_has_code(layer) for layer in layers):
            return KerasCode(model, names, (as_taken(model, names),), dtypes, shapes, front)
        return cls(model, names, dtypes, shapes, original, front)

    def with_front(self, front: Any) -> tuple[Any, Any]:
        """The model behind the layers of `preprocess`, and these layers alone. Raises InvalidInput, ModelFault."""
        if self.front is not None:
            raise InvalidInput("the Keras model has preprocessing layers of its own; leave preprocess out")
        layers = front_model(front, front.input_dtype(self))
        return KerasModel.of(keras.Model(layers.input, self.model(layers.output))), KerasModel.of(layers)

    def with_output(self, choice: OutputChoice) -> "KerasModel":
        """The model with one tensor as its output, (rows,) or (rows, outputs). Raises ModelFault, InvalidInput."""
        original = None if self.original is None else chosen_output(self.original, choice)
        return replace(self, model=chosen_output(self.model, choice), original=original)

    def run(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The output for rows, (rows, …) by input. Raises ModelFault, and whatever Keras raises."""
        return self._table(self.model, arrays)

    def _table(self, model: Any, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        result = model(as_taken(model, [arrays[name] for name in self.names]), training=False)
        half = keras.backend.standardize_dtype(result.dtype) in ROUNDING
        table: np.ndarray = keras.ops.convert_to_numpy(keras.ops.cast(result, "float32") if half else result)
        return table

    def precision(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
        """[precision] of model.toml for a model with a policy of half precision; None for any other.

        Raises ModelFault if the float32 copy differs by more than half precision can explain.
        """
        dtype = half_policy(self.original) if self.original else None
        if dtype is None:
            return None
        return compared(self._table(self.original, arrays), self.run(arrays), dtype, ROUNDING[dtype])

    def with_integers(self, names: Sequence[str], dtype: str) -> "KerasModel":
        """This network with integer inputs, of `dtype`, in place of the floating-point inputs `names`.

        It is a copy whose first layers see the integers. If Keras cannot copy it, Keras casts them to floating point.
        """
        dtypes = tuple(dtype if name in names else own for name, own in zip(self.names, self.dtypes, strict=True))
        graph = graph_of(self.model)
        assert graph is not None, "a model with a call of its own is a KerasCode"
        for arguments, own in zip(graph.inputs.values(), dtypes, strict=True):
            arguments["dtype"] = own
        try:
            return replace(self, model=twin(graph).build(), dtypes=dtypes)
        except Exception:  # the layers of Keras raise any type of exception
            return replace(self, dtypes=dtypes)

    def files(self, arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
        """The content of model.keras. Raises ModelFault."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, KERAS_FILE)
            try:
                self.model.save(path)
            except Exception as error:
                raise ModelFault(f"Keras cannot save the model: {first_line(error)}") from error
            return {KERAS_FILE: path.read_bytes()}
