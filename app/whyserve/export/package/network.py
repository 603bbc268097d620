"""The caller's network, of any framework. Notebooks use this module without the packages of the export."""

import os
import sys
from typing import Any

from whyserve.errors import InvalidInput

# By the library of a model that is no network: what makes an ONNX model of it.
CONVERTERS = {
    "sklearn": "skl2onnx.to_onnx(model, rows[:1])",
    "xgboost": "onnxmltools.convert_xgboost",
    "lightgbm": "onnxmltools.convert_lightgbm",
}


def network_of(model: Any, background: Any = None, tokenizer: Any = None) -> Any:
    """A KerasModel, a TorchModel or an OnnxModel for a network of the caller. Raises InvalidInput, ModelFault.

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

        _check_parts(model, keras)
        return TorchModel.of(model, background, tokenizer)
    onnx = sys.modules.get("onnx")
    is_path = isinstance(model, str | os.PathLike) and str(model).endswith(".onnx")
    if is_path or isinstance(model, bytes) or (onnx is not None and isinstance(model, onnx.ModelProto)):
        try:
            from whyserve.export.package.onnx import OnnxModel  # noqa: PLC0415
        except ImportError as error:
            raise InvalidInput(f'an ONNX model needs {error.name}; pip install "whyserve[export]"') from error
        return OnnxModel.of(model)
    converter = CONVERTERS.get(type(model).__module__.partition(".")[0])
    way_out = f", which {converter} makes of it" if converter else ""
    raise InvalidInput(
        f"an object of type {type(model).__name__} cannot be packaged; give a torch nn.Module, a torch.export program,"
        f" a Keras model or an ONNX model{way_out}"
    )


def _check_parts(model: Any, keras: Any) -> None:
    """Raises InvalidInput for a torch module that holds a Keras layer of another backend."""
    if keras is None or keras.backend.backend() == "torch":
        return
    for name, part in vars(model).items():
        if isinstance(part, keras.Layer):
            raise InvalidInput(
                f'"{name}" of the torch module is a Keras layer, and Keras runs on {keras.backend.backend()} here;'
                " package the Keras model by itself, or set KERAS_BACKEND=torch before keras is imported"
            )
