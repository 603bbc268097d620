"""Copy a Keras model with its Python code, within a process or to another backend in another process.

A copy needs no get_config. It has the classes and functions of the caller by value, the weights and the other
attributes of each layer, and each functional model as a Graph that is called again.
"""

import io
import pickle
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType, ModuleType
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
    "_auto_config", "_allow_non_tensor_positional_args", "_build_shapes_dict", "_convert_input_args", "_input_spec",
    "_path", "_supports_masking",
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
    """A Graph, or a layer or model of Keras, as bytes for pickle.loads in another process. Raises ModelFault."""
    return _dumped(thing, None)


def twin(thing: Any) -> Any:
    """A copy in this process, with the caller's own classes and functions. Raises ModelFault."""
    live: list[Any] = []
    return _Unpickler(io.BytesIO(_dumped(thing, live)), live).load()


def _dumped(thing: Any, live: list[Any] | None) -> bytes:
    file = io.BytesIO()
    pickler = _Pickler(file, live)
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


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, live: list[Any]) -> None:
        super().__init__(file)
        self.live = live

    def persistent_load(self, number: int) -> Any:
        return self.live[number]


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is untyped
    """live: takes what is not copied but stays the same object; None to copy everything."""

    def __init__(self, file: io.BytesIO, live: list[Any] | None) -> None:
        super().__init__(file)
        self.live = live
        self.by_value: list[ModuleType] = []

    def persistent_id(self, thing: Any) -> int | None:
        if self.live is None or _container(thing):
            return None
        if not isinstance(thing, type | FunctionType | ModuleType) and not _foreign(thing):
            return None
        self.live.append(thing)
        return len(self.live) - 1

    def reducer_override(self, thing: Any) -> Any:
        reduced = next((reduce(thing) for kinds, reduce in REDUCED if isinstance(thing, kinds)), None)
        if reduced is None and keras.ops.is_tensor(thing):
            reduced = keras.ops.convert_to_tensor, (keras.ops.convert_to_numpy(thing),)
        if reduced is None:
            reduced = _container(thing) or _foreign(thing)
        if reduced is None:
            self._copy_by_value(thing)
            reduced = super().reducer_override(thing)
        return reduced

    def _copy_by_value(self, thing: Any) -> None:
        """Copy what the caller's own files define by value, because the other process must not run these files."""
        name = _module(thing)
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if module is None or not file or name.startswith(("__main__", "whyserve.")) or module in self.by_value:
            return
        if not any(folder in Path(file).parents for folder in INSTALLED):
            cloudpickle.register_pickle_by_value(module)
            self.by_value.append(module)


def _module(thing: Any) -> str:
    """The name of the module that defines a function, a class or the class of an object; of a module, its own name."""
    name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
    return name if isinstance(name, str) else type(thing).__module__


def _container(thing: Any) -> Any:
    """The reduction of a container in which Keras or TensorFlow tracks layers; None for any other object."""
    if not type(thing).__module__.startswith(("keras.src.utils.tracking", "tensorflow.")):
        return None
    return next(((_same, (kind(thing),)) for kind in (list, set, dict, tuple) if isinstance(thing, kind)), None)


def _foreign(thing: Any) -> Any:
    """The reduction of an object of another framework; None for any other object."""
    owners = [name.split(".")[0] for name in (type(thing).__module__, _module(thing))]
    if owners[0] in FOREIGN and hasattr(thing, "python_function"):  # of tf.function; it has the module of the caller
        return _same, (thing.python_function,)
    if owners[0] in FOREIGN and hasattr(thing, "as_numpy_dtype"):  # a dtype of TensorFlow
        return _same, (thing.name,)
    owner = next((each for each in owners if each in FOREIGN), None)
    if owner is None:
        return None
    name = getattr(thing, "__name__", type(thing).__name__)
    return Foreign, (name if isinstance(thing, ModuleType) else f"{owner}.{name}",)


def _layer(layer: Any) -> Any:
    if (graph := graph_of(layer)) is not None:
        return Graph.build, (graph,)
    if isinstance(layer, keras.Sequential):
        return keras.Sequential, (layer.layers, layer.trainable, layer.name)
    fresh = vars(keras.Model() if isinstance(layer, keras.Model) else keras.layers.Layer())
    held = {**vars(layer), **vars(layer).get("_modules", {})}  # on torch, layers within a layer are modules
    own = {k: v for k, v in held.items() if k not in fresh and k not in TRAINING and not k.startswith("_self_")}
    facts = (type(layer), layer.name, layer.dtype_policy.name, layer.trainable)
    return _empty, facts, (own, {name: held.get(name) for name in KEPT}), None, None, _fill


def _operation(operation: Any) -> Any:
    fresh = vars(keras.Operation())
    state = {k: v for k, v in vars(operation).items() if k not in fresh or k == "_auto_config"}
    return _new_operation, (type(operation), operation.name, state)


def _variable(variable: Any) -> Any:
    facts = (str(variable.dtype), variable.trainable, variable.name, variable.path)
    return _new_variable, (keras.ops.convert_to_numpy(variable), *facts)


# The first fitting entry is used.
REDUCED: tuple[tuple[Any, Any], ...] = (
    (USELESS, lambda _: (_same, (None,))),
    (keras.Variable, _variable),
    (keras.random.SeedGenerator, lambda _: (keras.random.SeedGenerator, (0,))),
    (keras.layers.Layer, _layer),
    (keras.Operation, _operation),
    (type(keras.layers.Rescaling(1).backend), lambda backend: (type(backend), ())),
)


def _same(thing: Any) -> Any:
    return thing


def _new_variable(array: np.ndarray, dtype: str, trainable: bool, name: str, path: str) -> Any:
    variable = keras.Variable(array, dtype=dtype, trainable=trainable, name=name)
    variable._path = path  # the torch backend needs different paths
    return variable


def _new_operation(kind: Any, name: str, state: Mapping[str, Any]) -> Any:
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
