"""Ends connections that take too long: to send a request, to take an answer, or between the two."""

import time
from collections.abc import Iterable
from typing import Any

from whyserve.api.server.connection import Connection


class TimeoutSweep:
    """Ends connections that take too long. It looks now and then, so that no request has to set a timer."""

    def __init__(self, read_timeout_s: float, write_timeout_s: float, every_s: float) -> None:
        self._read_s, self._take_s, self._margin_s = read_timeout_s, write_timeout_s, 2 * every_s
        # What each slow connection was doing, and since when. The scope tells one request from the next.
        self._since: dict[Connection, tuple[object, float, float]] = {}

    def __call__(self, connections: Iterable[Any]) -> None:
        now, slow = time.monotonic(), {}
        for connection in list(connections):
            patience = connection.patience_s(self._read_s, self._take_s)
            if patience is None:
                continue
            doing = (connection.scope, patience, now)
            before = self._since.get(connection, doing)
            since = before if before[0] is doing[0] and before[1] == patience else doing
            if now - since[2] > patience - self._margin_s:
                connection.give_up()
            else:
                slow[connection] = since
        self._since = slow
