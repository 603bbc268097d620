"""A request's tensors as the arrays that a model takes, and the outputs that it asks for."""

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

# Of all texts in a request: what a tokenizer reads in a tenth of a second.
MOST_LETTERS = 100_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output to answer with. classes: so many of the greatest as words, or 0: its numbers."""

    name: str
    binary: bool
    classes: int = 0


@dataclass(frozen=True, slots=True)
class InferInputs:
    id: str | None
    arrays: Arrays
    outputs: Sequence[Wanted]
    parameters: Mapping[str, Any]


def read(wire_body: WireBody, predictor: Predictor, offered: Sequence[str], most_rows: int) -> InferInputs:
    """offered: names of the outputs there are. Raises MalformedBody, InvalidInput, TooManyInstances."""
    spec = predictor.spec
    if wire_body.json is None:
        raw = checked(predictor, _raw(wire_body.tail, spec), most_rows)
        return InferInputs(None, raw, [Wanted(n, True) for n in offered], {})
    request = read_request(wire_body.json)
    parameters = request.get("parameters") or {}
    arrays = checked(predictor, _arrays(request["inputs"], wire_body.tail, spec), most_rows)
    return InferInputs(request.get("id"), arrays, _wanted(request, parameters, offered), parameters)


def _raw(tail: memoryview, spec: ModelSpec) -> Arrays:
    """A body that is the one tensor of one row."""
    if len(spec.inputs) > 1:
        raise InvalidInput("a body without JSON is for models of one input; this one has several")
    (only,) = spec.inputs
    return {only.name: _named(only.name, from_bytes, tail, name_of(only.dtype), (1, *only.row_shape))}


def _arrays(tensors: Sequence[Tensor], tail: memoryview, spec: ModelSpec) -> Arrays:
    known = {item.name: item for item in spec.inputs}
    arrays: Arrays = {}
    at = 0
    for place, tensor in enumerate(tensors):
        item = known.get(tensor["name"])
        if item is None:
            raise InvalidInput(f"inputs[{place}]: the model has no such input; it has {', '.join(known)}")
        if item.name in arrays:
            raise InvalidInput(f'input "{item.name}" stands twice')
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is not None and at + size > len(tail):
            raise InvalidInput(f'input "{item.name}": its binary_data_size runs over the end of the body')
        arrays[item.name] = _array(tensor, item, None if size is None else tail[at : at + size])
        at += size or 0
    if at != len(tail):
        raise InvalidInput(f"the body goes on for {len(tail) - at} bytes after the last tensor")
    return arrays


def _array(tensor: Tensor, item: InputSpec, raw: memoryview | None) -> np.ndarray:
    """raw: where it comes as bytes."""
    name, datatype, data = item.name, tensor["datatype"], tensor.get("data")
    if "shared_memory_region" in (tensor.get("parameters") or {}):
        raise InvalidInput(f'input "{name}": shared memory is not taken; send its data or its bytes')
    if datatype not in DATATYPES:
        raise InvalidInput(f'input "{name}": its datatype must be one of {", ".join(DATATYPES)}')
    if (raw is None) == (data is None):
        raise InvalidInput(f'input "{name}" must have either data or binary_data_size')
    # Read as what it says it is: a tensor that lies about its length is told that, not that its type is wrong.
    array = (
        _named(name, from_json, data, datatype, tensor["shape"])
        if raw is None
        else _named(name, from_bytes, raw, datatype, tensor["shape"])
    )
    if datatype != name_of(item.dtype) and not (item.tokenizer and datatype == "BYTES"):
        or_text = ", or BYTES" if item.tokenizer else ""
        raise InvalidInput(f'input "{name}" has the datatype {datatype}; {name_of(item.dtype)}{or_text} is needed')
    return array


def _named(name: str, decode: Any, *arguments: Any) -> np.ndarray:
    try:
        array: np.ndarray = decode(*arguments)
    except InvalidInput as error:
        raise InvalidInput(f'input "{name}": {error.message}', field=name) from None
    return array


def checked(predictor: Predictor, arrays: Arrays, most_rows: int) -> Arrays:
    """Raises InvalidInput as check_arrays and check_ids do, and TooManyInstances.

    What may be sent as text may come as a string a row in place of its ids.
    """
    rows = max((array.shape[0] for array in arrays.values() if array.ndim), default=0)
    if rows > most_rows:
        raise TooManyInstances(f"the inputs have {rows} rows; one request may have {most_rows}")
    ids = {name: _ids(name, array, predictor.texts) for name, array in arrays.items()}
    fit = check_arrays(predictor.spec, ids)
    check_ids(predictor.manifest.vocabularies, fit)
    return fit


def _ids(name: str, array: np.ndarray, texts: Mapping[str, TextReader]) -> np.ndarray:
    """(rows,) or (rows, 1) of strings → (rows, tokens); another array is what it is."""
    if name not in texts or array.dtype.kind != "O":
        return array
    if array.ndim == 0 or array.size != len(array):
        raise InvalidInput(f'input "{name}" has shape {array.shape}; of strings, (rows,) or (rows, 1) is needed')
    if sum(map(len, array.ravel())) > MOST_LETTERS:
        raise InvalidInput(f'input "{name}" holds more than {MOST_LETTERS} letters; send fewer rows at once')
    rows = []
    for number, element in enumerate(array.ravel()):
        try:
            rows.append(texts[name].ids(element if isinstance(element, str) else element.decode()))
        except UnicodeDecodeError:
            raise InvalidInput(f'input "{name}", row {number}: is not UTF-8', field=name) from None
        except InvalidInput as fault:
            raise InvalidInput(f'input "{name}", row {number}: {fault.message}', field=name) from None
    return np.array(rows)


def _wanted(request: InferRequest, parameters: Mapping[str, Any], offered: Sequence[str]) -> list[Wanted]:
    binary = parameters.get("binary_data_output", False)
    if not isinstance(binary, bool):
        raise InvalidInput('"parameters.binary_data_output" must be true or false')
    asked = request.get("outputs")
    if not asked:
        return [Wanted(name, binary) for name in offered]
    found: dict[str, Wanted] = {}
    for place, output in enumerate(asked):
        name, own = output["name"], output.get("parameters") or {}
        if name not in offered:
            raise InvalidInput(f"outputs[{place}]: there is no such output; there is {', '.join(offered)}")
        if name in found:
            raise InvalidInput(f"outputs[{place}]: it is asked for twice")
        found[name] = Wanted(name, own.get("binary_data", binary), own.get("classification", 0))
    return list(found.values())
