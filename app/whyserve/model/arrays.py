"""Arrays that were not built from rows (tensors of a request, .npz files), checked against the inputs of a model."""

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping

import numpy as np

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
    for column, feature in enumerate(item.features):
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
