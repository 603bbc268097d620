"""Arrays ⇄ tensors on the wire: JSON lists, or little-endian bytes. Both are in row-major order."""

import math
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.model.fill import TO_ALLOW
from whyserve.predict.plain_rows import pack_numbers

DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{
        f"{sign.upper()}INT{bits}": np.dtype(f"{sign}int{bits}").newbyteorder("<")
        for sign in ("u", "")
        for bits in (8, 16, 32, 64)
    },
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    "BYTES": np.dtype(object),
}
NAMES = {dtype.newbyteorder("="): name for name, dtype in DATATYPES.items()}
LENGTH = np.dtype("<u4")  # of each element of a BYTES tensor, before its bytes
# By numpy kind: the allowed types of JSON elements, and their name in messages. bool is not allowed as an int.
ELEMENTS: dict[str, tuple[set[type], str]] = {
    "b": ({bool}, "true or false"),
    "i": ({int}, "a whole number"),
    "u": ({int}, "a whole number"),
    "f": ({int, float}, "a number"),
    "O": ({str}, "a string"),
}


@cache
def name_of(dtype: Any) -> str:
    """The protocol's name of a numpy dtype."""
    return NAMES[np.dtype(dtype).newbyteorder("=")]


def from_json(data: list[Any], datatype: str, shape: Sequence[int], markers: Sequence[Any] = ()) -> np.ndarray:
    """data: nested like the shape, or flat. markers: by feature of a row, what null becomes; None if null is refused.

    Raises InvalidInput.
    """
    dtype = DATATYPES[datatype]
    flat = _flat(data, shape)
    if markers and None in flat:
        flat = [markers[place % len(markers)] if each is None else each for place, each in enumerate(flat)]
    if dtype.kind == "f" and dtype.itemsize > 2:
        # Packing fails for elements of other types. The code below then finds the element and makes the error.
        with suppress(struct.error, TypeError, OverflowError, ValueError):
            return pack_numbers(flat, shape, dtype.char)
    allowed, expected = ELEMENTS[dtype.kind]
    if not set(map(type, flat)) <= allowed:
        index = next(index for index, element in enumerate(flat) if type(element) not in allowed)
        to_allow = f"; {TO_ALLOW}" if flat[index] is None else ""
        raise InvalidInput(f"data[{index}] (flattened, row-major) must be {expected} for {datatype}{to_allow}")
    if dtype.kind in "iu" and flat:
        bounds = np.iinfo(dtype)
        if min(flat) < bounds.min or max(flat) > bounds.max:
            raise InvalidInput(f"data contains a number outside the range of {datatype}")
    try:
        with np.errstate(over="ignore"):
            return _shaped(np.array(flat, dtype=dtype), shape)
    except OverflowError:
        raise InvalidInput(f"data contains a number that is too large for {datatype}") from None


def _flat(data: list[Any], shape: Sequence[int]) -> list[Any]:
    if not data or type(data[0]) is not list:
        if len(data) != math.prod(shape):
            raise InvalidInput(f"data has {len(data)} elements, but its shape needs {math.prod(shape)}")
        return data
    level: list[Any] = [data]
    for depth, size in enumerate(shape):
        if any(type(part) is not list or len(part) != size for part in level):
            raise InvalidInput(f"data is not nested like its shape at depth {depth + 1}; send it flat or nest it")
        level = list(chain.from_iterable(level))
    return level


def from_bytes(raw: memoryview, datatype: str, shape: Sequence[int]) -> np.ndarray:
    """raw: the bytes of this tensor and no others. Raises InvalidInput."""
    dtype, count = DATATYPES[datatype], math.prod(shape)
    if dtype.kind == "O":
        return _shaped(_strings(raw, count), shape)
    if len(raw) != count * dtype.itemsize:
        raise InvalidInput(f"has {len(raw)} bytes, but its shape and {datatype} need {count * dtype.itemsize}")
    if dtype.kind == "b" and np.frombuffer(raw, np.uint8).max(initial=0) > 1:
        raise InvalidInput("has a byte other than 0 and 1, which BOOL does not allow")
    return _shaped(np.frombuffer(raw, dtype), shape)


def _shaped(flat: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    try:
        return flat.reshape(tuple(shape))
    except ValueError:  # an empty tensor whose other sizes have too large a product
        raise InvalidInput("its shape is larger than an array can be") from None


def _strings(raw: memoryview, count: int) -> np.ndarray:
    # Each element has at least the four bytes of its length. A larger count must not allocate memory.
    if count * LENGTH.itemsize > len(raw):
        raise InvalidInput(f"has {len(raw)} bytes, too few for {count} BYTES elements")
    found = np.empty(count, dtype=object)
    at = 0
    for place in range(count):
        begin = at + LENGTH.itemsize
        at = begin + int.from_bytes(raw[at:begin], "little")
        if at > len(raw) or begin > len(raw):
            raise InvalidInput(f"BYTES element {place} ends after the tensor's last byte")
        found[place] = bytes(raw[begin:at])
    if at != len(raw):
        raise InvalidInput(f"has {len(raw) - at} extra bytes after its last BYTES element")
    return found


def to_bytes(array: np.ndarray) -> bytes:
    if array.dtype.kind != "O":
        return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return b"".join(len(element).to_bytes(LENGTH.itemsize, "little") + element for element in _elements(array))


def to_json(array: np.ndarray) -> Any:
    """A flat list or array, for orjson with OPT_SERIALIZE_NUMPY."""
    if array.dtype.kind != "O":
        return np.ascontiguousarray(array).reshape(-1)
    return [element.decode() for element in _elements(array)]


def _elements(array: np.ndarray) -> Iterable[bytes]:
    flat: list[bytes] = array.reshape(-1).tolist()
    return flat
