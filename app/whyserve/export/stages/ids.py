"""How many ids a network can look up: an index beyond its table fails in the one runtime and wraps in the other."""

from collections.abc import Callable

import numpy as np

from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec


def vocabularies(spec: ModelSpec, run: Callable[[Arrays], object], rows: Arrays) -> dict[str, int]:
    """By the name of each input of whole numbers: n, where 0 to n − 1 are all that the network takes.

    Found by trying, one row at a time, whatever the lookup is written as; no entry where numbers have no such bound.
    run: the original network. rows: some that it takes.
    """
    found = {}
    for item in spec.inputs:
        if item.is_tabular or not item.is_integer:
            continue
        name, bounds = item.name, np.iinfo(item.dtype)

        def takes(number: int, name: str = name) -> bool:
            row = {key: array[:1] for key, array in rows.items()}
            try:
                run({**row, name: np.full_like(row[name], number)})
            except Exception:  # each framework has its own
                return False
            return True

        largest, beyond = int(rows[name].max()), int(bounds.max)
        if takes(beyond) or (bounds.min < 0 and takes(-1)) or not takes(0):
            continue
        while beyond - largest > 1:
            middle = (largest + beyond) // 2
            largest, beyond = (middle, beyond) if takes(middle) else (largest, middle)
        found[name] = beyond
    return found
