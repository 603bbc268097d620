"""Lines that say how far a process has loaded its models, if that takes long."""

import time
from collections.abc import Collection, Iterator

from whyserve.model.builds import Each

EVERY_S = 5.0


def reported(role: str) -> Each:
    def each(names: Collection[str]) -> Iterator[str]:
        last = time.monotonic()
        for number, name in enumerate(names):
            if time.monotonic() - last > EVERY_S:
                last = time.monotonic()
                print(f"whyserve {role}: {number} of {len(names)} models loaded", flush=True)  # noqa: T201
            yield name

    return each
