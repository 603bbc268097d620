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

        def answer(number: int, name: str = name) -> object:
            row = {key: array[:1] for key, array in rows.items()}
            try:
                return run({**row, name: np.full_like(row[name], number)})
            except Exception:  # each framework has its own type
                return None

        def takes(number: int, answer: Callable[[int], object] = answer) -> bool:
            return answer(number) is not None

        negative = answer(-1) if bounds.min < 0 else None
        if (negative is not None and takes(int(bounds.min))) or not takes(0):
            continue
        limit = id_limit(takes, int(rows[name].max()), int(bounds.max))
        # Gather of ONNX counts -1 from the end of the table. In other networks, a negative number is no id.
        if limit is not None and (negative is None or np.array_equal(negative, answer(limit - 1))):  # type: ignore[arg-type]
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
