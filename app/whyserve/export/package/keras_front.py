"""Preprocessing layers in front of a Keras model → the categories, numbers and texts of a request.

A lookup states the order of its categories, and a TextVectorization becomes a tokenizer. The served model starts with
their codes. Normalization and CategoryEncoding stay layers of the model.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from whyserve.errors import InvalidInput, ModelFault
from whyserve.export.package.keras_copy import twin
from whyserve.export.package.keras_graph import Graph, Slot, as_taken, graph_of
from whyserve.export.package.keras_text import tokenizer_of

LOOKUPS = (layers.StringLookup, layers.IntegerLookup)
HASHED = (layers.Hashing, layers.HashedCrossing)
CODED = (*LOOKUPS, layers.TextVectorization)
HANDLED = (*CODED, *HASHED, layers.Discretization)


@dataclass(frozen=True, slots=True)
class Front:
    """The inputs of the caller's model as requests hold them.

    model: the caller's model. By the name of an input in the served model: labels: its name in the caller's model.
    lookups: its lookup layer. texts: its tokenizer.
    """

    model: Any
    labels: dict[str, str]
    lookups: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, Any] = field(default_factory=dict)

    def background(self, given: Any, categories: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """A background as the caller has it → by input: texts, a DataFrame with ordered categories, or numbers.

        Raises InvalidInput.
        """
        made = {}
        for tensor, (name, label) in zip(self.model.inputs, self.labels.items(), strict=True):
            value = _values(given, name, label, self.labels)
            if name not in self.texts and (name in self.lookups or len(tensor.shape) == 1 or tensor.shape[1:] == (1,)):
                value = _frame(value, label)
            if name in self.lookups:
                value = value.apply(partial(_codes, lookup=self.lookups[name], stated=categories))
            made[name] = value
        return made

    def answers(self, given: Any) -> np.ndarray:
        """The outputs of the caller's model for a background as the caller has it."""
        arrays = []
        for tensor, (name, label) in zip(self.model.inputs, self.labels.items(), strict=True):
            values = np.asarray(_values(given, name, label, self.labels))
            values = values.reshape(len(values), *tensor.shape[1:])
            arrays.append(ops.convert_to_tensor(values.tolist() if tensor.dtype == "string" else values, tensor.dtype))
        table: np.ndarray = ops.convert_to_numpy(self.model(as_taken(self.model, arrays), training=False))
        return table


def without_front(model: Any) -> tuple[Any, Front] | None:
    """A copy of a model that starts with codes, and what its front does; None for a model without such a front.

    Raises ModelFault for preprocessing that cannot be exported.
    """
    inputs = getattr(model, "inputs", None) or ()
    handled = [layer for layer in model._flatten_layers() if isinstance(layer, HANDLED)]
    if not handled and not any(len(tensor.shape) == 1 or tensor.dtype == "string" for tensor in inputs):
        return None
    graph = graph_of(model, flat=True)
    if graph is None:
        raise ModelFault(f"{_name(handled[0])} is inside a subclassed model; call it on a keras.Input in front of it")
    labels = {re.sub(r"^(?=\d)|\W", "_", tensor.name): tensor.name for tensor in inputs}
    if len(labels) < len(inputs):
        raise ModelFault(f"two inputs of the Keras model have nearly the same name: {', '.join(labels.values())}")
    front, served = Front(model, labels), Graph(model.name, {}, None)
    given: dict[Slot, Slot] = {}
    for (slot, arguments), name in zip(graph.inputs.items(), labels, strict=True):
        users = [layer for layer, *taken, _ in graph.calls if slot in keras.tree.flatten(taken)]
        coded, new = _coded({**arguments, "name": name}, users, front), Slot()
        served.inputs[new] = {**coded, "shape": coded["shape"] or (1,)}
        given[slot] = new if coded["shape"] else served.record(partial(ops.squeeze, axis=-1), new)
    served.taken = list(served.inputs) if len(given) > 1 else next(iter(served.inputs))
    codes = {given[slot] for slot, name in zip(given, labels, strict=True) if name in {**front.lookups, **front.texts}}
    served.outputs = graph.run(given, partial(_recorded, served, codes))
    for arguments in served.inputs.values():
        if arguments["dtype"] == "string":
            raise ModelFault(
                f'input "{arguments["name"]}" of the Keras model takes strings, which reach other layers than a'
                " StringLookup or a TextVectorization; put one of these directly behind the input"
            )
    return twin(served).build(), front


def _coded(arguments: dict[str, Any], users: Sequence[Any], front: Front) -> dict[str, Any]:
    """The arguments of an input; of one of codes if one lookup or TextVectorization takes it, and no other layer."""
    if len({id(user) for user in users}) != 1 or not isinstance(users[0], CODED):
        return arguments
    layer, name = users[0], arguments["name"]
    if isinstance(layer, layers.TextVectorization):
        front.texts[name] = tokenizer_of(layer, _name(layer))
        return {**arguments, "dtype": "int64", "shape": (front.texts[name].padding["length"],)}
    if layer.invert or layer.output_mode == "tf_idf":
        raise ModelFault(f'{_name(layer)} has invert=True or output_mode="tf_idf"; use output_mode="int" or "one_hot"')
    front.lookups[name] = layer
    return {**arguments, "dtype": "int64"}


def _recorded(served: Graph, codes: set[Slot], layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Record a call of the caller's model, or what replaces a preprocessing layer. codes: the slots of codes."""
    if isinstance(layer, HASHED):
        raise ModelFault(f"{_name(layer)} hashes values, so they have no names; use a StringLookup and a vocabulary")
    if isinstance(layer, CODED):
        (given,) = args
        if given not in codes:
            raise ModelFault(f"{_name(layer)} must be the only layer that takes its keras.Input; move the others")
        if layer.get_config()["output_mode"] == "int":
            return given
        layer = layers.CategoryEncoding(layer.vocabulary_size(), layer.output_mode)
    elif isinstance(layer, layers.Discretization):
        layer = partial(_bins, boundaries=list(layer.bin_boundaries), mode=layer.output_mode)
    return served.record(layer, *args, **kwargs)


def _bins(numbers: Any, boundaries: list[float], mode: str) -> Any:
    """The same as Discretization, whose operation ONNX does not have."""
    above = ops.expand_dims(numbers, -1) >= ops.convert_to_tensor(boundaries, "float32")
    codes = ops.sum(ops.cast(above, "int64"), -1)
    return codes if mode == "int" else layers.CategoryEncoding(len(boundaries) + 1, mode)(codes)


def _name(layer: Any) -> str:
    return f'layer "{layer.name}" ({type(layer).__name__})'


def _vocabulary(lookup: Any) -> list[str]:
    """The categories in the order of their codes. Codes of unknown values have the name of the unknown token."""
    names = [str(token) for token in lookup.get_vocabulary()]
    return [
        f"{name} {names[:place].count(name) + 1}" if name in names[:place] else name for place, name in enumerate(names)
    ]


def _values(given: Any, name: str, label: str, labels: Mapping[str, str]) -> Any:
    """The background of one input. Raises InvalidInput."""
    several, known = len(labels) > 1, ", ".join(labels.values())
    if hasattr(given, "columns") and (several or label in given.columns):
        odd = [str(column) for column in given.columns if column not in labels.values()]
        if odd or label not in given.columns:
            fault = f'has no column "{label}"' if not odd else f"has the columns {', '.join(odd)}, which are no inputs"
            raise InvalidInput(f"the background {fault}; the inputs of the network are {known}")
        return given[[label]]
    if isinstance(given, Mapping) and (label in given or name in given):
        return given.get(label, given.get(name))
    if several or isinstance(given, Mapping):
        raise InvalidInput(f"give the background as a DataFrame or a dict with the inputs of the network: {known}")
    return given


def _frame(value: Any, label: str) -> Any:
    """A DataFrame with the name of the input for one column, and numbered names for several."""
    import pandas as pd  # noqa: PLC0415  # slow to load, and only such models need it

    if hasattr(value, "columns"):
        return value.reset_index(drop=True)
    array = np.asarray(value)
    array = array[:, None] if array.ndim == 1 else array
    several = [f"{label}_{place}" for place in range(array.shape[1])]
    return pd.DataFrame(array, columns=several if len(several) > 1 else [label])


def _codes(column: Any, lookup: Any, stated: Mapping[str, Sequence[str]]) -> Any:
    """A column with the categories of a lookup. Raises InvalidInput for a value that the lookup does not take."""
    import pandas as pd  # noqa: PLC0415

    known = _vocabulary(lookup)
    if list(map(str, stated.get(str(column.name), known))) != known:
        raise InvalidInput(
            f'categories of "{column.name}" differ from the vocabulary of {_name(lookup)}, which states their order;'
            " leave them out"
        )
    if column.isna().any():
        return column  # whoever reads the background names every column with gaps
    whole = isinstance(lookup, layers.IntegerLookup)
    values = [str(int(v)) if whole else v.decode() if isinstance(v, bytes) else str(v) for v in column]
    odd = sorted(set(values) - set(known))
    if odd and lookup.num_oov_indices != 1:
        raise InvalidInput(
            f'column "{column.name}" of the background holds {", ".join(odd[:5])}, which {_name(lookup)} with'
            f" num_oov_indices={lookup.num_oov_indices} has no single code for; drop these rows"
        )
    unknown = str(lookup.oov_token)
    values = [value if value in known else unknown for value in values]
    return pd.Series(pd.Categorical(values, categories=known), name=column.name)
