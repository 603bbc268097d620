"""Check an ONNX file before ONNX Runtime parses it. The onnx library is not needed.

An ONNX file is a protobuf message: a sequence of fields, each with a number, a wire type and a value. Some fields hold
messages again. This is enough to visit every operator and every tensor.
"""

from collections.abc import Iterator, Set

from whyserve.errors import ModelFault

# ONNX's own operators. All other domains are additions of ONNX Runtime or of libraries, and no model needs them.
DOMAINS = {"", "ai.onnx"}
# Trees, linear models and encoders, which ONNX standardises too. Only the converters of such models write them.
ML_DOMAIN = "ai.onnx.ml"

# message: {field: type of the message in it}, for all messages that lead to operators, tensors and functions.
_HOLDS: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "TensorProto": {},
}
_OP_TYPE, _DOMAIN = 4, 7  # fields of a NodeProto
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of a TensorProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TAG_BYTES, _VARINT_BYTES = 5, 10
# protobuf's own limit.
_MAX_DEPTH = 100


def check_graph(content: bytes, place: str, *, ml: bool = False) -> bool:
    """Refuse a graph that is not self-contained: weights in other files, functions, or operators that are not ONNX's.

    place: the file's name, for messages. ml: also allow the operators of ai.onnx.ml. Raises ModelFault.
    Returns whether the graph has a Loop, which may run forever.
    """
    allowed = {domain.encode() for domain in (DOMAINS | {ML_DOMAIN} if ml else DOMAINS)}
    return _check(memoryview(content), "ModelProto", place, 0, allowed)


def _check(message: memoryview, kind: str, place: str, depth: int, allowed: Set[bytes]) -> bool:
    if depth > _MAX_DEPTH:
        raise ModelFault(f"{place}: nested more than {_MAX_DEPTH} levels deep")
    holds = _HOLDS[kind]
    domain, operator, loops = "", "?", False
    for field, value in _fields(message, place):
        if kind == "TensorProto" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)):
            raise ModelFault(f"{place}: weights are in another file; export the model with all weights in one file")
        if not isinstance(value, memoryview):
            continue
        if kind == "NodeProto" and field == _OP_TYPE:
            operator = _text(value)
        elif kind == "NodeProto" and field == _DOMAIN and bytes(value) not in allowed:
            domain = _text(value)
        elif (inner := holds.get(field)) == "FunctionProto":
            raise ModelFault(f"{place}: contains functions; use only ONNX operators")
        elif inner:
            loops |= _check(value, inner, place, depth + 1, allowed)
    if domain:
        raise ModelFault(f"{place}: operator {domain}.{operator} is not part of ONNX; use only ONNX operators")
    return loops or operator == "Loop"


def _text(value: memoryview) -> str:
    """A name from the file, for a message: shortened, and without control characters."""
    text = bytes(value[:80]).decode(errors="replace")
    return "".join(character if character.isprintable() else "?" for character in text)


def _fields(message: memoryview, place: str) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value). The value is bytes or a number; fixed-width numbers are not needed, so they are 0."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at, _TAG_BYTES, place)
        field, kind = tag >> 3, tag & 7
        value: int | memoryview = 0
        if kind == _VARINT:
            value, at = _varint(message, at, _VARINT_BYTES, place)
        elif kind == _BYTES:
            length, at = _varint(message, at, _TAG_BYTES, place)
            value, at = message[at : at + length], at + length
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise _broken(place)
        # Some parsers keep only the lower 32 bits of a larger tag, and would read another field.
        if at > end or not field or tag >> 32:
            raise _broken(place)
        yield field, value


def _varint(message: memoryview, at: int, limit: int, place: str) -> tuple[int, int]:
    """A number of at most `limit` bytes with 7 bits each, and the position after it."""
    value = 0
    for position, byte in enumerate(message[at : at + limit]):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value, at + position + 1
    raise _broken(place)


def _broken(place: str) -> ModelFault:
    return ModelFault(f"{place}: not an ONNX file; export the model again")
