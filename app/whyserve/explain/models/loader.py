"""From a model folder's files to a torch network. Nothing is parsed before its digest is checked."""

import os
import types
from collections.abc import Callable

import torch
from torch import nn

from whyserve.errors import ModelFault, first_line
from whyserve.explain.game.network import Network
from whyserve.model.keras_file import keras_order, open_keras
from whyserve.model.spec import KERAS_FILE, NETWORK_FILE, WEIGHTS_FILE, ModelSpec

ReadFile = Callable[[str], bytes]
"""Gives a file of the model folder by name, its digest checked."""


def load_network(spec: ModelSpec, read: ReadFile) -> Network:
    """Load the original network: torch as it is, Keras on its torch backend. Raises ModelFault."""
    names = tuple(item.name for item in spec.inputs)
    try:
        module = _load_keras(spec, read) if spec.framework == "keras" else load_torch(spec, read)
    except ModelFault:
        raise
    except Exception as error:
        # Whatever the model's own code or a framework raises is this model's fault, said in one line.
        file = KERAS_FILE if spec.framework == "keras" else NETWORK_FILE
        raise ModelFault(f"{spec.name}/{file}: {first_line(error)}") from error
    return Network(module.eval().requires_grad_(False), names)


def load_torch(spec: ModelSpec, read: ReadFile) -> nn.Module:
    """network.py's build() with weights.safetensors in it."""
    from safetensors.torch import load  # noqa: PLC0415

    module = types.ModuleType(f"whyserve_model_{spec.name}")
    module.__file__ = f"{spec.name}/{NETWORK_FILE}"
    exec(compile(read(NETWORK_FILE), module.__file__, "exec"), module.__dict__)  # noqa: S102
    if not callable(build := module.__dict__.get("build")):
        raise ModelFault(f"{spec.name}/{NETWORK_FILE}: has no function build() that returns the network")
    network = build()
    if not isinstance(network, nn.Module):
        raise ModelFault(f"{spec.name}/{NETWORK_FILE}: build() returns {type(network).__name__}, not a torch.nn.Module")
    try:
        network.load_state_dict(load(read(WEIGHTS_FILE)))
    except Exception as error:
        raise ModelFault(f"{spec.name}/{WEIGHTS_FILE}: {first_line(error)}") from error
    return network


class KerasNetwork(nn.Module):
    """A Keras model on the torch backend, called with its inputs by position and as at inference."""

    def __init__(self, model: nn.Module, order: tuple[int, ...]) -> None:
        super().__init__()
        self.model = model
        self.order = order

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        given = [inputs[position] for position in self.order]
        result: torch.Tensor = self.model(given if len(given) > 1 else given[0], training=False)
        return result


def _load_keras(spec: ModelSpec, read: ReadFile) -> nn.Module:
    if os.environ.get("KERAS_BACKEND") != "torch":
        raise RuntimeError("KERAS_BACKEND must be torch before Keras is imported here")
    model = open_keras(read(KERAS_FILE))
    return KerasNetwork(model, keras_order(spec, [tensor.name for tensor in model.inputs]))
