"""The number of ids that a network can look up. An id beyond the table of an embedding fails in one runtime and reads
another entry in the other, so the service has to refuse it.
"""

from collections.abc import Callable

import numpy as np

from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec


def vocabularies(spec: ModelSpec, run: Callable[[Arrays], object], rows: Arrays) -> dict[str, int]:
    """n by input: the network takes the integers 0 to n − 1. An input without such a limit has no entry.

    The limit is found by running the network on one row at a time, which works for every kind of lookup.
    run: calls the original network. rows: valid rows, (rows, …) by input.
    """
    found = {}
    for item in spec.inputs:
        if not item.may_hold_ids:
            continue
        name, bounds = item.name, np.iinfo(item.dtype)

        def takes(number: int, name: str = name) -> bool:
            row = {key: array[:1] for key, array in rows.items()}
            try:
                run({**row, name: np.full_like(row[name], number)})
            except Exception:  # each framework has its own type
                return False
            return True

        # A binary search: the network takes `valid` and fails on `invalid`.
        valid, invalid = int(rows[name].max()), int(bounds.max)
        if takes(invalid) or (bounds.min < 0 and takes(-1)) or not takes(0):
            continue
        while invalid - valid > 1:
            middle = (valid + invalid) // 2
            valid, invalid = (middle, invalid) if takes(middle) else (valid, middle)
        found[name] = invalid
    return found
