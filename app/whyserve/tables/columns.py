"""Read whole columns of an Arrow table: hundreds of times faster than reading cells one by one.

Cells that are empty, invalid, or texts that hold a number are left to whyserve.tables.cells.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute

from whyserve.model.input_spec import Feature, InputSpec


def read_columns(
    inputs: Sequence[InputSpec], batch: pa.RecordBatch, columns: Mapping[str, int]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The arrays of tabular inputs, and (rows,) bool: the rows that were read. The values of other rows mean nothing.

    columns: the position of each column. If an input is not tabular, no row is read.
    """
    arrays = {item.name: np.zeros((len(batch), *item.row_shape), item.dtype) for item in inputs}
    read = np.full(len(batch), all(item.is_tabular for item in inputs))
    for item in inputs if read.any() else ():
        for place, feature in enumerate(item.features):
            values, valid = _column(item, feature, batch.column(columns[feature.name]))
            read &= valid
            arrays[item.name][valid, place] = values[valid]
    return arrays, read


def _column(item: InputSpec, feature: Feature, column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The values of a feature, (rows,), and which of them are valid."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    is_bool, is_number = pa.types.is_boolean(kind), pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if feature.categories and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        codes = pa.compute.index_in(column, pa.array([*feature.categories], kind)).fill_null(-1).to_numpy()
        is_empty = pa.compute.equal(column, "").fill_null(True)  # an empty text can mean a missing value
        return codes, (codes >= 0) & ~is_empty.to_numpy(zero_copy_only=False)
    if item.value_type(feature) is bool and is_bool:
        return column.fill_null(False).to_numpy(zero_copy_only=False), column.is_valid().to_numpy(zero_copy_only=False)
    if feature.categories or item.value_type(feature) is bool or not is_number:
        return np.zeros(len(column)), np.zeros(len(column), bool)
    smallest, largest = item.bounds
    if item.is_integer and pa.types.is_integer(kind):
        # As integers: float64 holds integers exactly up to 2**53 only.
        whole = column.fill_null(0).to_numpy(zero_copy_only=False)
        return whole, column.is_valid().to_numpy(zero_copy_only=False) & (whole >= smallest) & (whole <= largest)
    values = column.to_numpy(zero_copy_only=False).astype(np.float64)
    valid = (values > smallest) & (values < largest)  # false for NaN
    if item.value_type(feature) is int:
        valid &= values == np.rint(values)
    return values, valid
