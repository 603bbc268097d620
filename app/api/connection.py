"""One connection: uvicorn's, on its fast parser, with bounds on what a peer may send before it is a request.

What a well-kept peer sends costs nothing here but a look; the accounting begins where a request comes in parts.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api.problems import problem

# Bytes that may come before a body, or between or behind its pieces.
MOST_HEAD = 32 << 10
# A peer that takes its answer so slowly is given up.
TAKE_S = 60.0


class Connection(HttpToolsProtocol):
    most_connections: ClassVar[int] = 2000

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._idle_bytes, self._moved = 0, False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.write(_answer(503, "busy", "too many connections; ask again", (b"retry-after", b"1")))
            transport.close()

    def data_received(self, data: bytes) -> None:
        if len(data) > MOST_HEAD and not self._in_body() and data.find(b"\r\n\r\n", 0, MOST_HEAD) < 0:
            self._refuse_head()
            return
        super().data_received(data)
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.scope is not self.scope:
            self._part_way(len(data))

    def on_body(self, body: bytes) -> None:
        self._moved = True
        super().on_body(body)

    def _in_body(self) -> bool:
        cycle = self.cycle
        return cycle is not None and cycle.scope is self.scope and cycle.more_body

    def _part_way(self, size: int) -> None:
        """Count what is no body: a head in parts, and what chunks may have around them and behind."""
        self._idle_bytes = 0 if self._moved else self._idle_bytes + size
        self._moved = False
        if self._idle_bytes > MOST_HEAD and not self.transport.is_closing():
            self._refuse_head()

    def _refuse_head(self) -> None:
        self._idle_bytes = 0
        if self.cycle is None or self.cycle.response_complete:
            words = f"the request's head is larger than {MOST_HEAD >> 10} KiB"
            self.transport.write(_answer(431, "head_too_large", words))
            self.transport.write_eof()
        # Closed now, the peer's unread bytes would take the answer away from it; the sweep closes it.
        self.transport.set_protocol(_Deaf(self))

    def send_400_response(self, msg: str) -> None:
        self.transport.write(_answer(400, "malformed_request", "this is not HTTP as it is understood here"))
        self.transport.close()

    # -- deadlines ---------------------------------------------------------------------------------

    def patience_s(self, read_s: float) -> float | None:
        """How long what it is doing may take; None where it waits for us, or rests between requests."""
        if self.transport.is_closing() or self.flow.write_paused:
            return TAKE_S
        if self.flow.read_paused:
            return None
        cycle = self.cycle
        if cycle is None or (cycle.more_body and not cycle.response_complete):
            return read_s
        return read_s if cycle.response_complete and self.timeout_keep_alive_task is None else None

    def give_up(self) -> None:
        cycle = self.cycle
        if self.transport.is_closing() or self.flow.write_paused or (cycle and cycle.response_started):
            self.transport.abort()
            return
        if self.scope is not None:
            self.transport.write(_answer(408, "request_timeout", "the request did not come in time"))
        self.transport.close()


class _Deaf(asyncio.Protocol):
    """Takes what comes and drops it, until the peer or the sweep ends it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection_lost(self, error: Exception | None) -> None:
        self._connection.connection_lost(error)


class Sweep:
    """Ends connections that take too long. It looks now and then, so that no request has to set a timer."""

    def __init__(self, read_s: float, every_s: float) -> None:
        self._read_s, self._margin_s = read_s, 2 * every_s
        # What each slow connection was doing, and since when. The scope tells one request from the next.
        self._since: dict[Connection, tuple[object, float, float]] = {}

    def __call__(self, connections: Iterable[Any]) -> None:
        now, slow = time.monotonic(), {}
        for connection in list(connections):
            patience = connection.patience_s(self._read_s)
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


def _answer(status: int, code: str, words: str, *headers: tuple[bytes, bytes]) -> bytes:
    """A whole answer, where no request is that the application could answer."""
    answer = problem(status, code, words)
    fixed = ((b"connection", b"close"), (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
    lines = [name + b": " + value + b"\r\n" for name, value in (*answer.raw_headers, *fixed, *headers)]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", bytes(answer.body)])
