"""A functional or sequential Keras model as a list of calls, which can be changed and called again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
from keras.src.models import Functional


class Slot:
    """Stands for a tensor of a Graph."""


@dataclass(slots=True)
class Graph:
    """inputs: the arguments of keras.Input, by slot. taken, outputs: the slots in the structure of the model.

    calls: a layer or an operation, its positional and its keyword arguments with slots for tensors, and its outputs.
    """

    name: str
    inputs: dict[Slot, dict[str, Any]]
    taken: Any
    outputs: Any = None
    calls: list[tuple[Any, Any, Any, list[Slot]]] = field(default_factory=list)

    def record(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        """Add a call. Returns slots for its outputs."""
        called = getattr(operation, "_inbound_nodes", None)
        outputs = [Slot() for _ in (keras.tree.flatten(operation.output) if called else range(1))]
        self.calls.append((operation, args, kwargs, outputs))
        return outputs if len(outputs) > 1 else outputs[0]

    def run(self, given: Mapping[Slot, Any], call: Callable[..., Any]) -> Any:
        """The outputs for given inputs. Each call becomes call(operation, …). Raises what the layers raise."""
        values = dict(given)

        def fill(thing: Any) -> Any:
            return keras.tree.map_structure(lambda x: values[x] if isinstance(x, Slot) else x, thing)

        for operation, args, kwargs, outputs in self.calls:
            made = call(operation, *fill(args), **fill(kwargs))
            values.update(zip(outputs, keras.tree.flatten(made), strict=False))
        return fill(self.outputs)

    def build(self) -> Any:
        """A functional model with the same layers. Raises what the layers raise."""
        tensors = {slot: keras.Input(**arguments) for slot, arguments in self.inputs.items()}
        outputs = self.run(tensors, lambda operation, *args, **kwargs: operation(*args, **kwargs))
        return keras.Model(keras.tree.map_structure(tensors.get, self.taken), outputs, name=self.name)


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
    inputs = {Slot(): {"shape": tuple(t.shape[1:]), "dtype": str(t.dtype), "name": t.name} for t in functional.inputs}
    graph = Graph(model.name, inputs, as_taken(model, list(inputs)))

    def record(operation: Any, *args: Any, **kwargs: Any) -> Any:
        inner = functional_of(operation) if flat else None
        if inner is None:
            return graph.record(operation, *args, **kwargs)
        return inner._run_through_graph(args, call_fn=record)

    graph.outputs = functional._run_through_graph(list(inputs), call_fn=record)
    return graph
