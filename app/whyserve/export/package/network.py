"""The caller's network, of any framework. Notebooks use this module without the packages of the export."""

import sys
from typing import Any

from whyserve.errors import InvalidInput


def network_of(model: Any, background: Any = None, tokenizer: Any = None) -> Any:
    """A KerasModel or a TorchModel for a network of the caller. Raises InvalidInput, ModelFault.

    background: as given by the caller; it names the inputs of a network with optional ones. tokenizer:
        the network's PaddedTokenizer, if it takes text.
    """
    keras = sys.modules.get("keras")
    # Keras comes first: on the torch backend, a Keras model is an nn.Module too.
    if keras is not None and isinstance(model, keras.Model):
        from whyserve.export.package.keras import KerasModel  # noqa: PLC0415

        return KerasModel.of(model)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module | torch.export.ExportedProgram):
        from whyserve.export.package.torch import TorchModel  # noqa: PLC0415

        return TorchModel.of(model, background, tokenizer)
    raise InvalidInput(
        f"an object of type {type(model).__name__} cannot be packaged; give a torch nn.Module, a torch.export program"
        " or a Keras model"
    )
