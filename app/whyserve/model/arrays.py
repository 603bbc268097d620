"""Arrays that were not built from rows (tensors of a request, .npz files), checked against the inputs of a model.

And arrays in messages.
"""

import base64
import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from pydantic_core import CoreSchema, core_schema

from whyserve.errors import InvalidInput
from whyserve.model.fill import TO_ALLOW
from whyserve.model.input_spec import Feature, InputSpec
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec

# A small file can unpack to more than the machine's memory.
MOST_BYTES = 4 << 30


def read_npz(content: bytes) -> Arrays:
    """The arrays of an .npz file. Raises InvalidInput, also for a file that needs unpickling or too much memory."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            if sum(member.file_size for member in file.zip.infolist()) > MOST_BYTES:
                raise MemoryError
            return {name: file[name] for name in file.files}
    except MemoryError as error:
        raise InvalidInput(f"its arrays need too much memory; at most {MOST_BYTES >> 30} GiB are read") from error
    except (ValueError, EOFError, OSError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInput("not an .npz file of plain arrays; save it with numpy.savez") from error


def check_arrays(spec: ModelSpec, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Check arrays against the inputs of a model and convert them to the dtypes of the inputs.

    Raises InvalidInput, which names the input, for a missing or unknown input, a wrong shape or type of number,
    different numbers of rows, no rows, a number that is not finite and a category code out of range. A missing value
    is allowed where model.toml allows it.
    """
    if unknown := sorted(set(arrays) - {i.name for i in spec.inputs}):
        known = ", ".join(i.name for i in spec.inputs)
        raise InvalidInput(f'input "{unknown[0]}" is not an input of this model; its inputs: {known}', field=unknown[0])
    checked = {item.name: _checked(item, arrays) for item in spec.inputs}
    counts = {array.shape[0] for array in checked.values()}
    if len(counts) > 1:
        raise InvalidInput("the inputs have different numbers of rows")
    if counts == {0}:
        raise InvalidInput("there are no rows")
    return checked


def _checked(item: InputSpec, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    def fault(words: str) -> InvalidInput:
        return InvalidInput(f'input "{item.name}" {words}', field=item.name)

    if item.name not in arrays:
        raise fault("is missing")
    array = np.asarray(arrays[item.name])
    if array.shape[1:] != item.row_shape or array.ndim == 0:
        needed = ", ".join(["rows", *map(str, item.row_shape)])
        raise fault(f"has shape {array.shape}; ({needed}) is needed")
    if array.dtype.kind not in item.array_kinds:
        raise fault(f"has dtype {array.dtype}; {item.dtype} is needed")
    if array.dtype == item.dtype:
        result = array.copy()
    else:
        with np.errstate(over="ignore"):
            result = array.astype(item.dtype)
    missing = item.missing_in(result)
    if not _valid(result, missing).all():
        raise fault(f"holds a number that is not finite{f'; {TO_ALLOW}' if np.isnan(result).any() else ''}")
    if not item.is_float and not np.array_equal(result, array):
        raise fault(f"holds a number outside the range of {item.dtype}")
    for column, feature in item.coded_features:
        present = result[:, column] if missing is None else result[~missing[:, column], column]
        _check_column(feature, present, fault)
    return result


def _check_column(feature: Feature, column: np.ndarray, fault: Callable[[str], InvalidInput]) -> None:
    if feature.categories and not ((column >= 0) & (column < len(feature.categories))).all():
        codes = f"codes are 0 to {len(feature.categories) - 1}"
        raise fault(f'holds a code outside the categories of "{feature.name}"; {codes}')
    if feature.boolean and not ((column == 0) | (column == 1)).all():
        raise fault(f'holds a number other than 0 and 1 for "{feature.name}", which is true or false')
    if feature.whole and not (column == np.rint(column)).all():
        raise fault(f'holds a fraction for "{feature.name}", which must be a whole number')


def first_not_finite(spec: ModelSpec, arrays: Arrays) -> tuple[int, str] | None:
    """The first row and key with a number that is not finite and not a missing value; None if there is none."""
    for item in spec.inputs:
        array = arrays[item.name]
        if not item.is_float or (valid := _valid(array, item.missing_in(array))).all():
            continue
        row, *inside = (int(i) for i in np.argwhere(~valid)[0])
        return row, item.key_of(inside)
    return None


def _valid(array: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
    """Whether each number is finite or a missing value."""
    finite: np.ndarray = np.isfinite(array)
    return finite if missing is None else finite | missing


class PackedArray:
    """An array of a message, bit for bit: its little-endian bytes in row-major order.

    In JSON these bytes are base64. If the serialisation's context is a list, the bytes are appended to this list
    instead, and the JSON has their place in it.
    """

    __slots__ = ("_array",)

    def __init__(self, array: np.ndarray) -> None:
        self._array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))

    @classmethod
    def pack(cls, array: np.ndarray) -> Self:
        return cls(array)

    def unpack(self) -> np.ndarray:
        """The array. It may be read-only."""
        return self._array

    @property
    def base64(self) -> str:
        return base64.b64encode(self._array.tobytes()).decode()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PackedArray):
            return NotImplemented
        mine, its = self._array, other.unpack()
        return (mine.dtype, mine.shape, mine.tobytes()) == (its.dtype, its.shape, its.tobytes())

    __hash__ = None  # type: ignore[assignment]  # as of every array

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        write = core_schema.plain_serializer_function_ser_schema(cls._write, info_arg=True, when_used="json")
        return core_schema.with_info_plain_validator_function(cls._read, serialization=write)

    def _write(self, info: core_schema.SerializationInfo) -> dict[str, Any]:
        array, blocks = self._array, info.context
        form = {"dtype": array.dtype.str, "shape": array.shape}
        if not isinstance(blocks, list):
            return {**form, "data": self.base64}
        blocks.append(array.tobytes())
        return {**form, "block": len(blocks) - 1}

    @classmethod
    def _read(cls, given: Any, info: core_schema.ValidationInfo) -> Self:
        if isinstance(given, cls):
            return given
        content = base64.b64decode(given["data"]) if "data" in given else (info.context or [])[given["block"]]
        dtype = np.dtype(given["dtype"]).newbyteorder("<")
        return cls(np.frombuffer(content, dtype).reshape(given["shape"]))


def unpacked(arrays: Mapping[str, PackedArray]) -> Arrays:
    """Packed arrays, by name."""
    return {name: packed.unpack() for name, packed in arrays.items()}
