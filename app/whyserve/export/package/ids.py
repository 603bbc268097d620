"""Inputs of ids, found by running the network.

A floating-point input may be cast to integers, as `ids.long()` does and Keras in front of an Embedding. Only whole
numbers have a meaning there: 1.7 would silently be read as 1.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from whyserve.export.stages.ids import LARGEST_ID, limit_of_ids, taker
from whyserve.model.rows import Arrays

# A cast drops these fractions, and no other function does, except a step function with all its steps at integers.
FRACTIONS = (0.3, 0.95)
# A float32 has room for these fractions up to this number.
LARGEST = 1 << 19
# With more columns, the columns of an input are not tried one by one. Each try runs the network.
MOST_COLUMNS = 64
IDS = "int64"

Whole = dict[str, list[int]]
"""By input: the columns that are cast to integers, of an input that stays floating point."""


def find_ids(network: Any, arrays: Arrays, table: np.ndarray) -> tuple[Any, Arrays, Whole]:
    """The network and its background with an integer dtype for each input of ids, and the columns of ids elsewhere.

    arrays: the background in the dtypes of the network. table: the network's output for it.
    """
    whole: Whole = {}
    for name, array in arrays.items():
        columns = list(_columns_of_ids(network, arrays, name, table))
        if columns == [...] or len(columns) == array.shape[1]:
            network, arrays = _with_integers(network, arrays, name, table)
            columns = list(range(array.shape[1])) if array.ndim == 2 and arrays[name] is array else []
        if columns:
            whole[name] = columns
    return network, arrays, whole


def _columns_of_ids(network: Any, arrays: Arrays, name: str, table: np.ndarray) -> Iterator[Any]:
    """The columns that the network casts to integers; ... for all elements."""
    array = arrays[name]
    if array.dtype.kind != "f":
        return
    possible = ((array == np.rint(array)) & (array >= 0) & (array < LARGEST)).reshape(len(array), -1).all(axis=0)
    if possible.all() and _casts(network, arrays, name, ..., table):
        yield ...
    elif array.ndim == 2 and 1 < array.shape[1] <= MOST_COLUMNS:
        yield from (c for c in np.flatnonzero(possible).tolist() if _casts(network, arrays, name, c, table))


def _casts(network: Any, arrays: Arrays, name: str, column: Any, table: np.ndarray) -> bool:
    """Whether a fraction changes nothing, but the next integer does."""

    def same(more: float) -> bool:
        moved = arrays[name].copy()
        moved[:, column] += more
        try:
            return np.array_equal(network.run({**arrays, name: moved}), table)
        except Exception:  # each framework has its own type; here, the number is outside the table
            return False

    return all(map(same, FRACTIONS)) and not same(1)


def _with_integers(network: Any, arrays: Arrays, name: str, table: np.ndarray) -> tuple[Any, Arrays]:
    """The network, or its copy that takes integers, if it gives the same output for integers; else both as given."""
    integers = {**arrays, name: arrays[name].astype(IDS)}
    takes_any = [network] if not getattr(network, "dtypes", ()) else []
    copies = [network.with_integers([name], IDS)] if hasattr(network, "with_integers") else []
    for each in takes_any + copies:
        try:
            if np.allclose(each.run(integers), table, rtol=1e-6, atol=0):
                return each, integers
        except Exception:  # noqa: S112  # each framework has its own type
            continue
    return network, arrays


def token_inputs(network: Any, arrays: Arrays, columns: Mapping[str, Any]) -> dict[str, str]:
    """The kind "tokens" for each input of integers that are ids of one table, such as the tokens of a text.

    columns: the features of each input that came as a DataFrame; its columns have names and are no tokens.
    """
    found = {}
    for name, array in arrays.items():
        if name in columns or array.ndim != 2 or array.dtype.kind not in "iu" or array.shape[1] < 2:
            continue
        limit = limit_of_ids(taker(network.run, arrays, name), array, min(LARGEST_ID, int(np.iinfo(array.dtype).max)))
        places = range(array.shape[1])
        if limit is not None and not any(taker(network.run, arrays, name, place)(limit) for place in places):
            found[name] = "tokens"
    return found
