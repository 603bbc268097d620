"""Read a request whose rows hold numbers only, from one parse of its JSON and without a schema.

This takes half the time of the schema. Whatever is not certain to be valid is left to the schema, which also makes the
errors.
"""

import struct
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from whyserve.model.rows import STRUCT_FORMATS, Arrays, pack
from whyserve.model.spec import ModelSpec

COLON = ord(":")
# The schema is faster for a shorter body.
LEAST_BYTES = 4096
# The fields of a request to predict that are read here.
FIELDS = ({"model", "instances"}, {"model", "columns"})


class PlainRows:
    """Reads the rows of one model. Only for models that `is_plain` accepts."""

    def __init__(self, spec: ModelSpec) -> None:
        self._keys = spec.keys
        self._inputs = [
            (item.name, item.keys, itemgetter(*item.keys), STRUCT_FORMATS[item.dtype]) for item in spec.inputs
        ]

    @staticmethod
    def is_plain(spec: ModelSpec) -> bool:
        """Whether every input holds numbers in named features. With one feature, `itemgetter` gives no tuple."""
        return all(item.is_plain and len(item.keys) > 1 for item in spec.inputs)

    def read(self, request: dict[str, Any]) -> Arrays | None:
        """Arrays by input, (rows, features), of a request with instances or columns; None if it may be invalid."""
        try:
            return self._rows(request["instances"]) if "instances" in request else self._columns(request["columns"])
        except (KeyError, TypeError, AttributeError, OverflowError, ValueError, struct.error):
            return None

    def _rows(self, rows: Sequence[dict[str, Any]]) -> Arrays | None:
        if type(rows) is not list or set(map(len, rows)) != {len(self._keys)}:
            return None
        return {
            name: pack_numbers(chain.from_iterable(map(read, rows)), (len(rows), len(keys)), form)
            for name, keys, read, form in self._inputs
        }

    def _columns(self, columns: dict[str, list[Any]]) -> Arrays | None:
        if len(columns) != len(self._keys):
            return None
        count = len(columns[self._keys[0]])
        if any(type(column) is not list or len(column) != count for column in columns.values()):
            return None
        return {
            name: np.ascontiguousarray(
                pack_numbers(chain.from_iterable(columns[key] for key in keys), (len(keys), count), form).T
            )
            for name, keys, _, form in self._inputs
        }


def parse_plain(body: bytes) -> dict[str, Any] | None:
    """The JSON of a request that PlainRows may read; None if the schema has to read it."""
    if len(body) < LEAST_BYTES:
        return None
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if type(request) is not dict or request.keys() not in FIELDS or type(request["model"]) is not str:
        return None
    try:
        return request if has_single_keys(body, request) else None
    except (TypeError, IndexError, KeyError):
        return None


def has_single_keys(body: bytes, request: dict[str, Any]) -> bool:
    """Whether it is certain that no object of a request has one key twice. Raises an error if it has no rows.

    Every key has a colon, and other colons stand only inside strings. So if there are as many colons as keys, no key is
    duplicate. The rows of one model have equal keys, and their values contain no objects.
    """
    inside = request["columns"] if "columns" in request else request["instances"]
    keys = len(inside) if type(inside) is dict else len(inside) * len(inside[0])
    # `count` stops at each colon, so it is slower than numpy in a long body, and faster in a short one.
    long = len(body) >= LEAST_BYTES
    colons = int(np.count_nonzero(np.frombuffer(body, np.uint8) == COLON)) if long else body.count(COLON)
    return colons == len(request) + keys


def pack_numbers(numbers: Iterable[float], shape: Sequence[int], form: str) -> np.ndarray:
    """Like `pack`, but raises TypeError for booleans."""
    numbers = list(numbers)
    array = pack(numbers, shape, form)
    # struct packs true and false as 1 and 0. Types are compared only if there is such a number, for this takes longer.
    if ((array == 0) | (array == 1)).any() and bool in map(type, numbers):
        raise TypeError
    return array
