"""Time several functions in one interleaved run, so that other load on the machine affects all of them."""

import time
from collections.abc import Callable, Mapping
from typing import Any


def interleaved(
    functions: Mapping[str, Callable[[], Any]], *, seconds: float = 2.0, most: int = 50
) -> dict[str, float]:
    """The shortest run of each function, in seconds. Each has one warm-up run and then 3 to `most` runs."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    end = time.perf_counter() + seconds
    for run in range(most):
        if run >= 3 and time.perf_counter() > end:
            break
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - began)
    return {name: min(each) for name, each in times.items()}
