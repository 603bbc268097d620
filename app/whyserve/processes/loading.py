"""Lines that say how far a process has loaded its models, if that takes long."""

import time
from collections.abc import Callable

EVERY_S = 5.0


def loading_lines(role: str, say: Callable[[str], None]) -> Callable[[int, int], None]:
    """A callback for the number of models loaded and the number of all."""
    last = time.monotonic()

    def on_progress(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > EVERY_S:
            last = time.monotonic()
            say(f"whyserve {role}: {done} of {total} models loaded")

    return on_progress
