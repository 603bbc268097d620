"""The caller's network, of any framework. Notebooks use this module without the packages of the export."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from whyserve.errors import InvalidInput


def network_of(model: Any) -> Any:
    """A KerasModel or a TorchModel for a network of the caller. Raises InvalidInput, ModelFault."""
    keras = sys.modules.get("keras")
    # Keras comes first: on the torch backend, a Keras model is an nn.Module too.
    if keras is not None and isinstance(model, keras.Model):
        from whyserve.export.package.keras import KerasModel  # noqa: PLC0415

        return KerasModel.of(model)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module | torch.export.ExportedProgram):
        from whyserve.export.package.torch import TorchModel  # noqa: PLC0415

        return TorchModel.of(model)
    raise InvalidInput(
        f"an object of type {type(model).__name__} cannot be packaged; give a torch nn.Module, a torch.export program"
        " or a Keras model"
    )


def as_served(network: Any, background: Any, categories: Mapping[str, Sequence[str]]) -> Any:
    """A background in the form that the network takes without its own preprocessing. Raises InvalidInput."""
    front = getattr(network, "front", None)
    return front.background(background, categories) if front else background
