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

        if (bounds.min < 0 and takes(-1)) or not takes(0):
            continue
        if (limit := id_limit(takes, int(rows[name].max()), int(bounds.max))) is not None:
            found[name] = limit
    return found


def id_limit(takes: Callable[[int], bool], valid: int, largest: int) -> int | None:
    """n, if the network takes the ids 0 to n − 1 alone; None if it takes `largest` too. valid: an id that it takes."""
    if takes(largest):
        return None
    invalid = largest
    while invalid - valid > 1:
        middle = (valid + invalid) // 2
        valid, invalid = (middle, invalid) if takes(middle) else (valid, middle)
    return invalid
