"""A request's tensors as arrays for a model, and the outputs that it requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whyserve.api.oip.encoding import DATATYPES, from_bytes, from_json, name_of
from whyserve.api.oip.schema import InferRequest, Tensor, read_request
from whyserve.api.oip.wire import WireBody
from whyserve.errors import InvalidInput, TooManyInstances
from whyserve.model.arrays import check_arrays
from whyserve.model.input_spec import InputSpec
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec
from whyserve.model.text import TextReader, check_ids
from whyserve.predict.predictor import Predictor

# In all texts of a request. A tokenizer reads as many in a tenth of a second.
MAX_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class RequestedTensor:
    """A requested output. classes: the number of largest values to return as text, or 0 for the plain numbers."""

    name: str
    binary: bool
    classes: int = 0


@dataclass(frozen=True, slots=True)
class InferInputs:
    """A valid request. id: the caller's, if it sent one. arrays: by input, (rows, *shape)."""

    id: str | None
    arrays: Arrays
    outputs: Sequence[RequestedTensor]
    parameters: Mapping[str, Any]


def read_inputs(wire_body: WireBody, predictor: Predictor, offered: Sequence[str], max_rows: int) -> InferInputs:
    """offered: the names of the available outputs. Raises MalformedBody, InvalidInput, TooManyInstances."""
    spec = predictor.spec
    if wire_body.json is None:
        raw = check_inputs(predictor, _raw(wire_body.tail, spec), max_rows)
        return InferInputs(None, raw, [RequestedTensor(name, True) for name in offered], {})
    request = read_request(wire_body.json)
    parameters = request.get("parameters") or {}
    arrays = check_inputs(predictor, _arrays(request["inputs"], wire_body.tail, spec), max_rows)
    return InferInputs(request.get("id"), arrays, _requested(request, parameters, offered), parameters)


def _raw(tail: memoryview, spec: ModelSpec) -> Arrays:
    """A body without JSON: one row of the only input."""
    if len(spec.inputs) > 1:
        raise InvalidInput("a body without JSON needs a model with one input; this model has several, so send JSON")
    (only,) = spec.inputs
    return {only.name: _named(only.name, from_bytes, tail, name_of(only.dtype), (1, *only.row_shape))}


def _arrays(tensors: Sequence[Tensor], tail: memoryview, spec: ModelSpec) -> Arrays:
    known = {item.name: item for item in spec.inputs}
    arrays: Arrays = {}
    at = 0
    for place, tensor in enumerate(tensors):
        item = known.get(tensor["name"])
        if item is None:
            raise InvalidInput(f"inputs[{place}]: unknown input; available inputs: {', '.join(known)}")
        if item.name in arrays:
            raise InvalidInput(f'duplicate input "{item.name}"; send each input once')
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is not None and at + size > len(tail):
            raise InvalidInput(f'input "{item.name}": its binary_data_size is larger than the rest of the body')
        arrays[item.name] = _array(tensor, item, None if size is None else tail[at : at + size])
        at += size or 0
    if at != len(tail):
        raise InvalidInput(f"the body has {len(tail) - at} extra bytes after the last tensor")
    return arrays


def _array(tensor: Tensor, item: InputSpec, raw: memoryview | None) -> np.ndarray:
    """raw: the tensor's bytes, or None for JSON data."""
    name, datatype, data = item.name, tensor["datatype"], tensor.get("data")
    if "shared_memory_region" in (tensor.get("parameters") or {}):
        raise InvalidInput(f'input "{name}": shared memory is not supported; send data or bytes')
    if datatype not in DATATYPES:
        raise InvalidInput(f'input "{name}": its datatype must be one of {", ".join(DATATYPES)}')
    if (raw is None) == (data is None):
        raise InvalidInput(f'input "{name}" must have either data or binary_data_size, and not both')
    # Decoded with its own datatype first, so that a wrong length is reported as such and not as a wrong datatype.
    array = (
        _named(name, from_json, data, datatype, tensor["shape"], item.markers)
        if raw is None
        else _named(name, from_bytes, raw, datatype, tensor["shape"])
    )
    if datatype == "FP64" and item.dtype == "float32":
        single = array.astype(np.float32)
        if np.array_equal(single, array, equal_nan=True):
            return single
        raise InvalidInput(f'input "{name}" has datatype FP64 with numbers that FP32 cannot hold; send FP32')
    if datatype != name_of(item.dtype) and not (item.tokenizer and datatype == "BYTES"):
        or_text = " or BYTES" if item.tokenizer else ""
        raise InvalidInput(f'input "{name}" has datatype {datatype}, but must have {name_of(item.dtype)}{or_text}')
    return array


def _named(name: str, decode: Any, *arguments: Any) -> np.ndarray:
    try:
        array: np.ndarray = decode(*arguments)
    except InvalidInput as error:
        raise InvalidInput(f'input "{name}": {error.message}', field=name) from None
    return array


def check_inputs(predictor: Predictor, arrays: Arrays, max_rows: int) -> Arrays:
    """Valid arrays, with token ids for texts. A text input may hold one string per row, or token ids.

    Raises InvalidInput, TooManyInstances.
    """
    rows = max((array.shape[0] for array in arrays.values() if array.ndim), default=0)
    if rows > max_rows:
        raise TooManyInstances(f"the inputs have {rows} rows; send at most {max_rows} rows per request")
    ids = {name: _ids(name, array, predictor.texts) for name, array in arrays.items()}
    inputs = check_arrays(predictor.spec, ids)
    check_ids(predictor.spec.inputs, predictor.manifest.vocabularies, inputs)
    return inputs


def _ids(name: str, array: np.ndarray, texts: Mapping[str, TextReader]) -> np.ndarray:
    """Strings, (rows,) or (rows, 1) → token ids, (rows, tokens). Other arrays stay as they are."""
    if name not in texts or array.dtype.kind != "O":
        return array
    if array.ndim == 0 or array.size != len(array):
        raise InvalidInput(f'input "{name}" has shape {array.shape}, but strings must have shape (rows,) or (rows, 1)')
    if sum(map(len, array.ravel())) > MAX_CHARACTERS:
        raise InvalidInput(f'input "{name}" has more than {MAX_CHARACTERS} characters; send fewer rows per request')
    rows = []
    for number, element in enumerate(array.ravel()):
        try:
            rows.append(texts[name].ids(element if isinstance(element, str) else element.decode()))
        except UnicodeDecodeError:
            raise InvalidInput(f'input "{name}", row {number}: the text is not UTF-8', field=name) from None
        except InvalidInput as fault:
            raise InvalidInput(f'input "{name}", row {number}: {fault.message}', field=name) from None
    return np.array(rows)


def _requested(request: InferRequest, parameters: Mapping[str, Any], offered: Sequence[str]) -> list[RequestedTensor]:
    binary = parameters.get("binary_data_output", False)
    requested = request.get("outputs")
    if not requested:
        return [RequestedTensor(name, binary) for name in offered]
    found: dict[str, RequestedTensor] = {}
    for place, output in enumerate(requested):
        name, own = output["name"], output.get("parameters") or {}
        if name not in offered:
            raise InvalidInput(f"outputs[{place}]: unknown output; available outputs: {', '.join(offered)}")
        if name in found:
            raise InvalidInput(f"outputs[{place}]: duplicate output; request each output once")
        found[name] = RequestedTensor(name, own.get("binary_data", binary), own.get("classification", 0))
    return list(found.values())
