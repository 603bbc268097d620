"""A limit on open event streams. They last long, so they must not take the places of other requests."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from whyserve.errors import Busy

EVENTS = "/events"  # the end of a stream's path
MAX_STREAMS, MAX_STREAMS_PER_KEY = 200, 10
TOO_MANY = "too many event streams are open; close one, or poll GET /explanations/{id}"


class Streams:
    def __init__(self) -> None:
        self._open: Counter[str | None] = Counter()

    @contextmanager
    def open(self, caller: str | None) -> Iterator[None]:
        """Count a stream for the time of the context. caller: None without keys. Raises Busy."""
        of_key = 0 if caller is None else self._open[caller]
        if of_key >= MAX_STREAMS_PER_KEY or self._open.total() >= MAX_STREAMS:
            raise Busy(TOO_MANY, retry_after_s=5)
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
