"""May an ONNX file be given to ONNX Runtime? Read before that parses it, and without the library that made it.

An ONNX file is a protobuf message, of which four lines of the format's rules are enough to visit every operator and
every tensor: a field is a number, a kind, and bytes; some fields hold messages of their own.
"""

from collections.abc import Iterator

from whyserve.errors import ModelFault

# ONNX's own operators. Others are either ONNX Runtime's additions or a library's, and neither is needed.
DOMAINS = {"", "ai.onnx"}

# message: {field: the message that it holds}, of all through which operators, tensors and functions are reached.
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
_OP_TYPE, _DOMAIN = 4, 7  # of a NodeProto
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a TensorProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TAG_BYTES, _VARINT_BYTES = 5, 10
# As deep as protobuf itself goes.
_DEEPEST = 100


def check_graph(content: bytes, place: str) -> None:
    """Refuse a graph that reaches outside itself: weights in other files, operators or functions not ONNX's own.

    place: what messages call the file. Raises ModelFault.
    """
    _check(memoryview(content), "ModelProto", place, 0)


def _check(message: memoryview, kind: str, place: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise ModelFault(f"{place}: nested too deeply")
    holds = _HOLDS[kind]
    domain, operator = "", "?"
    for field, value in _fields(message, place):
        if kind == "TensorProto" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)):
            raise ModelFault(f"{place}: keeps weights in another file")
        if not isinstance(value, memoryview):
            continue
        if kind == "NodeProto" and field == _OP_TYPE:
            operator = _text(value)
        elif kind == "NodeProto" and field == _DOMAIN and bytes(value) not in _OWN:
            domain = _text(value)
        elif (inner := holds.get(field)) == "FunctionProto":
            raise ModelFault(f"{place}: holds functions of its own; only ONNX's operators are taken")
        elif inner:
            _check(value, inner, place, depth + 1)
    if domain:
        raise ModelFault(f"{place}: operator {domain}.{operator} is not ONNX's own")


_OWN = {domain.encode() for domain in DOMAINS}


def _text(value: memoryview) -> str:
    """For a message: not all of what may be a megabyte, nor what a terminal would obey."""
    text = bytes(value[:80]).decode(errors="replace")
    return "".join(character if character.isprintable() else "?" for character in text)


def _fields(message: memoryview, place: str) -> Iterator[tuple[int, int | memoryview]]:
    """Each field's number, with its bytes or its number; fixed-width numbers, which nothing here needs, as 0."""
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
        # Of a number beyond 32 bits some parsers keep the lower ones, and would see another field.
        if at > end or not field or tag >> 32:
            raise _broken(place)
        yield field, value


def _varint(message: memoryview, at: int, most: int, place: str) -> tuple[int, int]:
    """A number of up to `most` bytes of seven bits each, and where it ends."""
    value = 0
    for position, byte in enumerate(message[at : at + most]):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value, at + position + 1
    raise _broken(place)


def _broken(place: str) -> ModelFault:
    return ModelFault(f"{place}: not an ONNX file")
