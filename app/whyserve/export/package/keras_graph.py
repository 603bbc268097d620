"""A functional or sequential Keras model as a list of calls, which can be changed and called again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import keras
from keras.src.models import Functional


@dataclass(frozen=True, slots=True)
class Slot:
    """Stands for a tensor of a Graph."""

    number: int


@dataclass(slots=True)
class Call:
    """A call of a layer or an operation. args, kwargs: with a Slot for each tensor."""

    operation: Any
    args: Any
    kwargs: Any
    outputs: list[Slot]

    def inputs(self) -> list[Slot]:
        return [each for each in keras.tree.flatten((self.args, self.kwargs)) if isinstance(each, Slot)]


@dataclass(slots=True)
class Graph:
    """inputs: the arguments of keras.Input, by slot. taken, outputs: the slots in the structure of the model."""

    name: str
    inputs: dict[Slot, dict[str, Any]]
    taken: Any
    outputs: Any
    calls: list[Call] = field(default_factory=list)

    def build(self) -> Any:
        """A functional model with the same layers. Raises what the layers raise."""
        tensors = {slot: keras.Input(**arguments) for slot, arguments in self.inputs.items()}

        def fill(thing: Any) -> Any:
            return keras.tree.map_structure(lambda x: tensors[x] if isinstance(x, Slot) else x, thing)

        for call in self.calls:
            made = call.operation(*fill(call.args), **fill(call.kwargs))
            tensors.update(zip(call.outputs, keras.tree.flatten(made), strict=False))
        return keras.Model(fill(self.taken), fill(self.outputs), name=self.name)


def functional_of(layer: Any) -> Any:
    """The functional model that a model is or consists of; None for every other layer and for a model with its own
    `call`.
    """
    if not isinstance(layer, keras.Model) or type(layer).call not in (Functional.call, keras.Sequential.call):
        return None
    return layer._functional if isinstance(layer, keras.Sequential) else layer


def as_taken(model: Any, given: Sequence[Any]) -> Any:
    """One thing for each input of a model → in the structure in which the model takes its inputs."""
    taken = getattr(getattr(model, "_functional", model), "_inputs_struct", list(given))
    return keras.tree.pack_sequence_as(taken, list(given))


def graph_of(model: Any, *, flat: bool = False) -> Graph | None:
    """The graph of a functional or sequential model; None for any other layer.

    flat: put the calls of the models in it in the place of the call of each such model.
    """
    functional = functional_of(model)
    if functional is None:
        return None
    numbers = count()
    inputs = {
        Slot(next(numbers)): {"shape": tuple(t.shape[1:]), "dtype": str(t.dtype), "name": t.name}
        for t in functional.inputs
    }
    calls: list[Call] = []
    outputs = _walk(functional, list(inputs), calls, numbers, flat=flat)

    def pack(struct: Any, slots: list[Slot]) -> Any:
        return keras.tree.pack_sequence_as(struct, slots)

    taken = pack(functional._inputs_struct, list(inputs))
    return Graph(model.name, inputs, taken, pack(functional._outputs_struct, outputs), calls)


def _walk(functional: Any, given: list[Slot], calls: list[Call], numbers: Iterator[int], *, flat: bool) -> list[Slot]:
    slots = {id(tensor): slot for tensor, slot in zip(functional.inputs, given, strict=True)}

    def as_slots(thing: Any) -> Any:
        return slots.get(id(thing)) if isinstance(thing, keras.KerasTensor) else thing

    for _, nodes in sorted(functional._nodes_by_depth.items(), reverse=True):
        for node in nodes:
            if node.is_input:
                continue
            args, kwargs = keras.tree.map_structure(as_slots, (node.arguments.args, node.arguments.kwargs))
            inner = functional_of(node.operation) if flat else None
            if inner is not None:
                outputs = _walk(inner, keras.tree.flatten(args), calls, numbers, flat=True)
            else:
                outputs = [Slot(next(numbers)) for _ in node.outputs]
                calls.append(Call(node.operation, args, kwargs, outputs))
            slots.update(zip(map(id, node.outputs), outputs, strict=True))
    return [slots[id(tensor)] for tensor in functional.outputs]
