"""Tensors → the protocol's response, each in its requested form."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from whyserve.api.oip.encoding import name_of, to_bytes, to_json
from whyserve.api.oip.tensors import RequestedTensor
from whyserve.api.oip.wire import PackedResponse, pack
from whyserve.model.spec import ModelSpec


def infer_response(
    spec: ModelSpec,
    request_id: str,
    tensors: Mapping[str, np.ndarray],
    requested: Sequence[RequestedTensor],
    parameters: Mapping[str, Any] | None = None,
) -> PackedResponse:
    """tensors: by name, at least the requested ones."""
    outputs, parts = [], []
    for item in requested:
        array = tensors[item.name]
        output: dict[str, Any] = {"name": item.name, "datatype": name_of(array.dtype), "shape": array.shape}
        if item.binary:
            parts.append(to_bytes(array))
            output["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            output["data"] = to_json(array)
        outputs.append(output)
    body: dict[str, Any] = {"model_name": spec.name, "model_version": str(spec.version), "id": request_id}
    if parameters:
        body["parameters"] = parameters
    body["outputs"] = outputs
    return pack(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), parts)
