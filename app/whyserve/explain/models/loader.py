"""Load the network of a model folder. A file is parsed only after its digest was checked."""

import os
import types
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from whyserve.errors import ModelFault, first_line
from whyserve.explain.game.network import Network
from whyserve.explain.models.onnx_network import load_onnx
from whyserve.model.keras_file import keras_order, open_keras
from whyserve.model.spec import KERAS_FILE, NETWORK_FILE, ONNX_FILE, WEIGHTS_FILE, ModelSpec

ReadFile = Callable[[str], bytes]
"""Reads a file of the model folder by name, and checks its digest."""


def load_network(spec: ModelSpec, read: ReadFile) -> Network:
    """Load the original network: a torch module, a Keras model on the torch backend, or an ONNX file.

    Raises ModelFault.
    """
    if spec.framework == "onnx":
        return replace(load_onnx(read(ONNX_FILE), spec), takes_nan=spec.takes_nan)
    names = tuple(item.name for item in spec.inputs)
    try:
        module = _load_keras(spec, read) if spec.framework == "keras" else load_torch(spec, read)
    except ModelFault:
        raise
    except Exception as error:
        # The model's own code and the frameworks may raise any exception.
        file = KERAS_FILE if spec.framework == "keras" else NETWORK_FILE
        raise ModelFault(f"{spec.name}/{file}: {first_line(error)}") from error
    return Network(module.eval().requires_grad_(False), names, takes_nan=spec.takes_nan)


def load_torch(spec: ModelSpec, read: ReadFile) -> nn.Module:
    """The module of build() in network.py, with the weights of weights.safetensors. Raises ModelFault."""
    from safetensors.torch import load  # noqa: PLC0415

    module = types.ModuleType(f"whyserve_model_{spec.name}")
    module.__file__ = f"{spec.name}/{NETWORK_FILE}"
    exec(compile(read(NETWORK_FILE), module.__file__, "exec"), module.__dict__)  # noqa: S102
    if not callable(build := module.__dict__.get("build")):
        raise ModelFault(f"{spec.name}/{NETWORK_FILE}: has no function build(); define one that returns the network")
    network = build()
    if not isinstance(network, nn.Module):
        raise ModelFault(
            f"{spec.name}/{NETWORK_FILE}: build() returns {type(network).__name__}; a torch.nn.Module is needed"
        )
    try:
        network.load_state_dict(load(read(WEIGHTS_FILE)))
    except Exception as error:
        raise ModelFault(f"{spec.name}/{WEIGHTS_FILE}: {first_line(error)}") from error
    return network


class KerasNetwork(nn.Module):
    """A Keras model on the torch backend, in inference mode, with positional inputs.

    order: for each input of the Keras model, its position in the arguments.
    """

    def __init__(self, model: nn.Module, order: tuple[int, ...]) -> None:
        super().__init__()
        self.model = model
        self.order = order

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        ordered = [inputs[position] for position in self.order]
        result: torch.Tensor = self.model(ordered if len(ordered) > 1 else ordered[0], training=False)
        return result


def _load_keras(spec: ModelSpec, read: ReadFile) -> nn.Module:
    if os.environ.get("KERAS_BACKEND") != "torch":
        raise RuntimeError("the environment variable KERAS_BACKEND must be torch before Keras is imported")
    model = open_keras(read(KERAS_FILE))
    return KerasNetwork(model, keras_order(spec, [tensor.name for tensor in model.inputs]))
