"""A network of this process, described as a model folder would describe it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from whyserve.errors import InvalidInput
from whyserve.explain.game.network import Network
from whyserve.explain.models.explainable import to_tensors
from whyserve.explain.models.loader import KerasNetwork, load_torch
from whyserve.explain.models.onnx_network import load_onnx
from whyserve.explain.models.traced_network import traced_network
from whyserve.export.package.inputs import describe_inputs
from whyserve.export.package.output_choice import OutputChoice
from whyserve.export.package.outputs import describe_output
from whyserve.export.package.prepare import prepare
from whyserve.export.package.trials import Tried
from whyserve.model.input_spec import InputSpec
from whyserve.model.keras_file import open_keras
from whyserve.model.players import Partition
from whyserve.model.rows import Arrays
from whyserve.model.spec import KERAS_FILE, ExplainSpec, ModelSpec


def in_memory(
    model: Any,
    background: Any,
    *,
    choice: OutputChoice,
    labels: Sequence[str],
    names: Sequence[str],
    features: Sequence[str] | None,
    players: Mapping[str, Mapping[str, Any]],
    categories: Mapping[str, Sequence[str]],
    missing: Mapping[str, Any],
    **output: Any,
) -> tuple[ModelSpec, Network, Tried]:
    """What a model folder would say of a network, the network, and the background that it takes.

    output: the arguments task and thresholds. Raises InvalidInput, ModelFault, UnsupportedNetwork.
    """
    _check_backend(model)
    prepared = prepare(model, background, choice=choice, categories=categories, missing=missing)
    if prepared.text.kinds:
        raise InvalidInput("a network that takes text needs a model folder; use whyserve.package and whyserve.load")
    tried = prepared.tried
    inputs = tuple(InputSpec(**item) for item in describe_inputs(tried, features)[0])
    described = describe_output(tried, labels, list(names) or choice.heads, numbered=True, **output)
    spec = ModelSpec(name="notebook", framework=tried.network.framework, inputs=inputs, **described)
    Partition(spec, players)
    spec = spec.model_copy(update={"explain": ExplainSpec(players=dict(players))})
    return spec, replace(_network(tried.network, spec, tried.arrays), takes_nan=spec.takes_nan), tried


def _check_backend(model: Any) -> None:
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Model) and keras.backend.backend() != "torch":
        raise InvalidInput(
            f"Keras runs on {keras.backend.backend()} in this process; explanations need its torch backend:"
            " set the environment variable KERAS_BACKEND=torch before keras is imported"
        )


def _network(packaged: Any, spec: ModelSpec, arrays: Arrays) -> Network:
    """The network as the worker would have it."""
    names = tuple(packaged.names)
    if packaged.framework == "onnx":
        return load_onnx(packaged.content, spec)
    if hasattr(packaged, "module"):
        return Network(packaged.exact(arrays).requires_grad_(False), names)
    # Through a file, as a service gets it, so that the numbers are the same and the caller's model stays as it is.
    files = packaged.files(arrays)
    if KERAS_FILE not in files:
        return Network(load_torch(spec, files.__getitem__).requires_grad_(False), names)
    module = KerasNetwork(open_keras(files[KERAS_FILE]), tuple(range(len(names))))  # a file keeps the order of inputs
    return traced_network(Network(module.eval().requires_grad_(False), names), to_tensors(arrays))
