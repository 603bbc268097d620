"""Tensors → the answer that carries them, each as it was asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from whyserve.api.oip.encoding import name_of, to_bytes, to_json
from whyserve.api.oip.tensors import Wanted
from whyserve.api.oip.wire import Packed, pack
from whyserve.model.spec import ModelSpec


def reply(
    spec: ModelSpec,
    identity: str,
    tensors: Mapping[str, np.ndarray],
    wanted: Sequence[Wanted],
    parameters: Mapping[str, Any] | None = None,
) -> Packed:
    """tensors: by output, at least those wanted."""
    outputs, parts = [], []
    for want in wanted:
        array = tensors[want.name]
        output: dict[str, Any] = {"name": want.name, "datatype": name_of(array.dtype), "shape": array.shape}
        if want.binary:
            parts.append(to_bytes(array))
            output["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            output["data"] = to_json(array)
        outputs.append(output)
    body: dict[str, Any] = {"model_name": spec.name, "model_version": str(spec.version), "id": identity}
    if parameters:
        body["parameters"] = parameters
    body["outputs"] = outputs
    return pack(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), parts)
