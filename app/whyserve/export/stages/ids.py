"""The number of ids that a network can look up. An id beyond the table of an embedding fails in one runtime and reads
another entry in the other, so the service has to refuse it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec

# A float32 holds every whole number up to the first. Keras on torch reads larger integers than the second wrongly.
LARGEST_FLOAT, LARGEST_ID = 1 << 24, (1 << 31) - 1


def vocabularies(spec: ModelSpec, run: Callable[[Arrays], object], rows: Arrays) -> dict[str, int]:
    """n by feature or input: the network takes the integers 0 to n − 1. Without such a limit, there is no entry.

    The limit is found by running the network on one row at a time, which works for every kind of lookup.
    run: calls the original network. rows: valid rows, (rows, …) by input.
    """
    found = {}
    for item in spec.inputs:
        largest = min(LARGEST_ID, item.bounds[1]) if item.is_integer else LARGEST_FLOAT
        for column, (key, feature, values) in enumerate(item.columns(rows[item.name])):
            if item.value_type(feature) is int and not (feature and feature.categories):
                takes = taker(run, rows, item.name, column if feature else ...)
                if (limit := limit_of_ids(takes, values, largest)) is not None:
                    found[key] = limit
    return found


def taker(run: Callable[[Arrays], object], rows: Arrays, name: str, place: Any = ...) -> Callable[[int], bool]:
    """Whether the network takes a number: in the first row of `rows`, in `place` of input `name`."""

    def takes(number: int) -> bool:
        row = {key: array[:1].copy() for key, array in rows.items()}
        row[name][(slice(None), place)] = number
        return succeeds(run, row)

    return takes


def succeeds(run: Callable[[Arrays], object], rows: Arrays) -> bool:
    """Whether a network takes rows."""
    try:
        run(rows)
    except Exception:  # each framework has its own type
        return False
    return True


def limit_of_ids(takes: Callable[[int], bool], valid: np.ndarray, largest: int) -> int | None:
    """n, if the network takes the ids 0 to n − 1, and no others except −n to −1; else None. valid: ids it takes.

    Python's indexing and Keras on torch count negative ids from the end of the table. They are no ids of a request.
    """
    if not takes(0):
        return None
    limit = id_limit(takes, int(valid.max()), largest)
    if limit is None or valid.dtype.kind == "u" or not takes(-1):
        return limit
    return limit if takes(-limit) and not takes(-limit - 1) else None


def id_limit(takes: Callable[[int], bool], valid: int, largest: int) -> int | None:
    """n, if the network takes the ids 0 to n − 1 alone; None if it takes `largest` too. valid: an id that it takes."""
    if takes(largest):
        return None
    invalid = largest
    while invalid - valid > 1:
        middle = (valid + invalid) // 2
        valid, invalid = (middle, invalid) if takes(middle) else (valid, middle)
    return invalid
