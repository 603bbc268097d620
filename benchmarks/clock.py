"""Times of several functions in one interleaved run: what else the machine does then falls on all alike."""

import time
from collections.abc import Callable, Mapping
from typing import Any


def interleaved(
    functions: Mapping[str, Callable[[], Any]], *, seconds: float = 2.0, most: int = 50
) -> dict[str, float]:
    """The quickest of each function's runs, in seconds. Each runs once before, and at least three times."""
    for function in functions.values():
        function()
    taken: dict[str, list[float]] = {name: [] for name in functions}
    end = time.perf_counter() + seconds
    for number in range(most):
        if number >= 3 and time.perf_counter() > end:
            break
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            taken[name].append(time.perf_counter() - began)
    return {name: min(times) for name, times in taken.items()}
