"""End connections that are too slow: to send a request, to take an answer, or between two requests."""

import time
from collections.abc import Iterable
from typing import Any

from whyserve.api.server.connection import Connection


class TimeoutSweep:
    """Checks all connections every `every_s` seconds, so that no request needs a timer of its own."""

    def __init__(self, read_timeout_s: float, write_timeout_s: float, keep_alive_s: float, every_s: float) -> None:
        self._limits_s, self._margin_s = (read_timeout_s, write_timeout_s, keep_alive_s), 2 * every_s
        # Connection → (scope of its request, time limit, start of this step). The scope identifies the request.
        self._steps: dict[Connection, tuple[object, float, float]] = {}

    def __call__(self, connections: Iterable[Any]) -> None:
        now, steps = time.monotonic(), {}
        for connection in list(connections):
            limit_s = connection.time_limit_s(*self._limits_s)
            if limit_s is None:
                continue
            step = (connection.scope, limit_s, now)
            last = self._steps.get(connection, step)
            if last[0] is step[0] and last[1] == limit_s:
                step = last
            if now - step[2] > limit_s - self._margin_s:
                connection.end_overdue()
            else:
                steps[connection] = step
        self._steps = steps
