"""Copy a Keras model with its Python code, within a process or to another backend in another process.

A copy needs no get_config. It has the classes and functions of the caller by value, the weights and the other
attributes of each layer, and each functional model as a Graph that is called again.
"""

import importlib
import io
import pickle
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import keras
import numpy as np

from whyserve.errors import ModelFault, first_line
from whyserve.export.package.keras_graph import Graph, graph_of

# Other frameworks than the torch backend's; a copy cannot call them.
FOREIGN = ("tensorflow", "jax", "jaxlib")
# Attributes of Keras that a copy keeps. The other ones of a new layer or model belong to its backend.
KEPT = (
    "_auto_config", "_allow_non_tensor_positional_args", "_build_shapes_dict", "_convert_input_args", "_input_spec", "_path",
    "_supports_masking",
)  # fmt: skip
TRAINING = {"_compile_config", "_compiled_trainable_state", "_eval_epoch_iterator", "history", "optimizer"}
TRAINING |= {"stop_training", "_functional", "_torch_params"}
USELESS = (keras.optimizers.Optimizer, keras.losses.Loss, keras.metrics.Metric, keras.callbacks.Callback)
DTYPES = {"bfloat16", "bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8"}
INSTALLED = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))


class Foreign:
    """Stands for an object of another framework. Only a call fails, because most code for training is never called.

    called: the name of the last call. Keras raises errors of its own instead of ours.
    """

    called = ""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "keras":
            return keras
        return name if name in DTYPES else Foreign(f"{self._name}.{name}")

    def __call__(self, *_: Any, **__: Any) -> Any:
        Foreign.called = self._name
        raise TypeError(f"{self._name} is not available on Keras's torch backend")


def copied(thing: Any) -> bytes:
    """A Graph, or a layer or model of Keras, as bytes for pickle.loads. Raises ModelFault."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(max(limit, 10_000))
        pickler.dump(thing)
    except Exception as error:
        raise ModelFault(
            f"the Python code of the Keras model cannot be copied: {first_line(error)}; a layer must hold only numbers,"
            " texts, layers, weights and functions"
        ) from error
    finally:
        sys.setrecursionlimit(limit)
        for module in pickler.by_value:
            cloudpickle.unregister_pickle_by_value(module)
    return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is untyped
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.by_value: list[Any] = []

    def reducer_override(self, thing: Any) -> Any:
        kind = type(thing)
        if isinstance(thing, USELESS):
            return _nothing, ()
        if isinstance(thing, keras.Variable):
            facts = (str(thing.dtype), thing.trainable, thing.name, thing.path)
            return _variable, (keras.ops.convert_to_numpy(thing), *facts)
        if isinstance(thing, keras.random.SeedGenerator):
            return keras.random.SeedGenerator, (0,)
        if isinstance(thing, keras.layers.Layer):
            return self._layer(thing)
        if isinstance(thing, keras.Operation):
            fresh = vars(keras.Operation())
            state = {k: v for k, v in vars(thing).items() if k not in fresh or k == "_auto_config"}
            return _operation, (kind, thing.name, state)
        if keras.ops.is_tensor(thing):
            return keras.ops.convert_to_tensor, (keras.ops.convert_to_numpy(thing),)
        if kind.__module__ == "keras.src.utils.backend_utils":
            return kind, ()
        if isinstance(thing, list | set | dict) and kind.__module__.startswith(("keras.", "tensorflow.")):
            plain = next(plain for plain in (list, set, dict) if isinstance(thing, plain))
            return _same, (plain(thing),)
        if isinstance(thing, tuple) and kind is not tuple and kind.__module__.startswith("tensorflow."):
            return _same, (tuple(thing),)
        if (foreign := self._foreign(thing)) is not None:
            return foreign
        self._by_value(thing)
        return super().reducer_override(thing)

    def _layer(self, layer: Any) -> Any:
        if (graph := graph_of(layer)) is not None:
            return Graph.build, (graph,)
        facts = (type(layer), layer.name, layer.dtype_policy.name, layer.trainable)
        if isinstance(layer, keras.Sequential):
            return keras.Sequential, (layer.layers, layer.trainable, layer.name)
        fresh = vars(keras.Model() if isinstance(layer, keras.Model) else keras.layers.Layer())
        held = {**vars(layer), **vars(layer).get("_modules", {})}  # on torch, layers within a layer are modules
        own = {k: v for k, v in held.items() if k not in fresh and k not in TRAINING and not k.startswith("_self_")}
        return _empty, facts, (own, {name: held.get(name) for name in KEPT}), None, None, _fill

    def _foreign(self, thing: Any) -> Any:
        """The reduction of an object of another framework; None for any other object."""
        module = thing.__name__ if isinstance(thing, type(io)) else getattr(thing, "__module__", None)
        if not isinstance(module, str) or module.split(".")[0] not in FOREIGN:
            kind = type(thing).__module__.split(".")[0]
            if kind not in FOREIGN:
                return None
        if hasattr(thing, "python_function"):  # of tf.function
            return _same, (thing.python_function,)
        if hasattr(thing, "as_numpy_dtype"):  # a dtype of TensorFlow
            return _same, (thing.name,)
        name = getattr(thing, "__qualname__", "") or getattr(thing, "__name__", type(thing).__name__)
        return Foreign, (name if isinstance(thing, type(io)) else f"{str(module).split('.')[0]}.{name}",)

    def _by_value(self, thing: Any) -> None:
        """Copy what is defined in the caller's own files by value, because the other process must not run the files."""
        name = thing.__name__ if isinstance(thing, type(io)) else getattr(thing, "__module__", None)
        module = sys.modules.get(name) if isinstance(name, str) else None
        file = getattr(module, "__file__", None)
        if module is None or name == "__main__" or not file or module in self.by_value:
            return
        if not any(folder in Path(file).parents for folder in INSTALLED) and not name.startswith("whyserve."):
            cloudpickle.register_pickle_by_value(module)
            self.by_value.append(module)


def _nothing() -> None:
    return None


def _same(thing: Any) -> Any:
    return thing


def _variable(array: np.ndarray, dtype: str, trainable: bool, name: str, path: str) -> Any:
    variable = keras.Variable(array, dtype=dtype, trainable=trainable, name=name)
    variable._path = path  # the torch backend needs different paths
    return variable


def _operation(kind: type, name: str, state: Mapping[str, Any]) -> Any:
    made = kind.__new__(kind)
    keras.Operation.__init__(made, name=name)
    vars(made).update(state)
    return made


def _empty(kind: Any, name: str, dtype: str, trainable: bool) -> Any:
    layer = kind.__new__(kind)
    base = keras.Model if issubclass(kind, keras.Model) else keras.layers.Layer
    base.__init__(layer, name=name, dtype=dtype, trainable=trainable)
    return layer


def _fill(layer: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    own, kept = state
    for name, value in own.items():
        setattr(layer, name, value)
    vars(layer).update(kept)
    layer.built = True
    layer._post_build()
