"""One connection: uvicorn's, on its fast parser, with bounds on what a peer may send before it is a request.

What a well-kept peer sends costs nothing here but a look; the accounting begins where a request comes in parts.
"""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from whyserve.api.errors.problems import problem
from whyserve.api.server.inline import AtOnce, run_at_once

# Bytes that may come before a body, or between or behind its pieces.
MOST_HEAD = 32 << 10
# A connection that has had its answer may rest so long.
REST_S = 5.0
# With so many connections, what came together is answered together, once all of it is read: the callers are then ready
# with their next requests together, too, and neither side wakes for each one.
MANY = 4


class Connection(HttpToolsProtocol):
    most_connections: ClassVar[int] = 2000
    due: ClassVar[list[tuple["Connection", RequestResponseCycle, Any]]] = []

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._idle_bytes, self._moved = 0, False
        self._is_quick: Callable[[Any], bool] = getattr(self.app, "is_quick", lambda scope: False)
        self._held: tuple[RequestResponseCycle, Any] | None = None

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
        if self._held is not None:
            self._begin(*self._held)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.more_body and self._is_quick(cycle.scope):
            self._held = cycle, app  # its body may be behind its head
        else:
            super()._start_asgi_task(cycle, app)

    def _begin(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._held = None
        if cycle.more_body or self.transport.is_closing():
            super()._start_asgi_task(cycle, app)
            return
        # uvicorn makes its cycles itself, of its own class.
        cycle.__class__ = AtOnce
        if len(self.connections) < MANY:
            self._run(cycle, app)
            return
        self.due.append((self, cycle, app))
        if len(self.due) == 1:
            self.loop.call_soon(_run_due, self.due)

    def _run(self, cycle: RequestResponseCycle, app: Any) -> None:
        if task := run_at_once(cycle.run_asgi(app), self.loop):
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def on_response_complete(self) -> None:
        """As uvicorn's, without a timer for each answer: the sweep ends a connection that rests for too long."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

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

    def patience_s(self, read_timeout_s: float, write_timeout_s: float) -> float | None:
        """How long what it is doing may take, to send a request or to take an answer; None where it waits for us."""
        if self.transport.is_closing() or self.flow.write_paused:
            return write_timeout_s
        if self.flow.read_paused:
            return None
        cycle = self.cycle
        if cycle is None or (cycle.more_body and not cycle.response_complete):
            return read_timeout_s
        if not cycle.response_complete:
            return None
        return REST_S if self._rests() else read_timeout_s

    def _rests(self) -> bool:
        """Whether it has had its answer, and nothing of a next request has come."""
        return self.cycle is not None and self.cycle.response_complete and self.cycle.scope is self.scope

    def give_up(self) -> None:
        cycle = self.cycle
        if self._rests() and not self.flow.write_paused:
            self.transport.close()
            return
        if self.transport.is_closing() or self.flow.write_paused or (cycle and cycle.response_started):
            self.transport.abort()
            return
        if self.scope is not None:
            self.transport.write(_answer(408, "request_timeout", "the request did not come in time"))
        self.transport.close()


def _run_due(due: list[tuple[Connection, RequestResponseCycle, Any]]) -> None:
    begun = due.copy()
    due.clear()
    for connection, cycle, app in begun:
        connection._run(cycle, app)


class _Deaf(asyncio.Protocol):
    """Takes what comes and drops it, until the peer or the sweep ends it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection_lost(self, error: Exception | None) -> None:
        self._connection.connection_lost(error)


def _answer(status: int, code: str, words: str, *headers: tuple[bytes, bytes]) -> bytes:
    """A whole answer, where no request is that the application could answer."""
    answer = problem(status, code, words)
    fixed = ((b"connection", b"close"), (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
    lines = [name + b": " + value + b"\r\n" for name, value in (*answer.raw_headers, *fixed, *headers)]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", bytes(answer.body)])
