"""One connection: uvicorn's protocol on the httptools parser, with limits on what a peer may send.

A request that arrives whole costs one comparison more than in uvicorn. Counting starts when a request arrives in parts.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from whyserve.api.server.inline import SingleWrite, run_inline
from whyserve.api.server.refusals import DiscardInput, refusal

# The request's head, and also everything between and after the parts of a chunked body.
MAX_HEAD_BYTES = 32 << 10
MAX_CONNECTIONS = 2000
# With more open connections than this, idle ones are closed sooner, so that they do not use up all connections.
MANY_CONNECTIONS, SHORT_KEEP_ALIVE_S = MAX_CONNECTIONS // 2, 5.0
# With this many connections or more, requests that arrive together are answered together. Their callers then send the
# next requests together too, and both sides wake less often.
BATCH_CONNECTIONS = 4

CONNECTIONS_FULL = "the service has too many open connections; retry later"
HEAD_TOO_LARGE = f"the request's head is larger than {MAX_HEAD_BYTES >> 10} KiB; send fewer or shorter headers"
NOT_HTTP = "the request is not valid HTTP/1.1; send an HTTP/1.1 request"
REQUEST_TIMEOUT = "the request did not arrive in time; send it again"


def connection_factory() -> Callable[..., "Connection"]:
    """What uvicorn calls for each new connection. One factory serves one event loop."""
    return partial(Connection, RequestBatch())


class RequestBatch:
    """The requests that have arrived in this turn of the event loop and are not started. Shared by all connections."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Connection, RequestResponseCycle, Any]] = []

    def add(self, connection: "Connection", cycle: RequestResponseCycle, app: Any) -> None:
        self._waiting.append((connection, cycle, app))
        if len(self._waiting) == 1:
            connection.loop.call_soon(self._run)

    def _run(self) -> None:
        started = self._waiting
        self._waiting = []
        for connection, cycle, app in started:
            connection.run_inline(cycle, app)


class Connection(HttpToolsProtocol):
    def __init__(self, batch: RequestBatch, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._batch = batch
        self._closes_after_body = False
        self._overhead_bytes, self._body_grew = 0, False
        self._quick: Callable[[Any], Any] = getattr(self.app, "quick", lambda scope: None)
        # A request to a quick endpoint whose head has been parsed. Its body may follow in the same packet.
        self._held: tuple[RequestResponseCycle, Any] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.write(refusal(503, "busy", CONNECTIONS_FULL, (b"retry-after", b"1")))
            transport.close()

    # -- requests --------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if len(data) > MAX_HEAD_BYTES and not self._in_body() and data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) < 0:
            self._refuse_head()
            return
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as stopped:
            self._read_without_upgrade(data[stopped.args[0] :])
            return
        except HttpParserError:
            self.send_400_response(NOT_HTTP)
            return
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.scope is not self.scope:
            self._count_overhead(len(data))
        elif self._closes_after_body and cycle.response_complete:
            self.transport.close()
        if self._held is not None:
            self._start_held(*self._held)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """uvicorn calls this when it has parsed a head. A quick endpoint waits until the whole packet is parsed."""
        if cycle.more_body and not cycle.keep_alive:
            # An early answer must not close the connection while the peer still sends the body: the peer, such as
            # nginx, would lose the answer. The connection closes when the body is read.
            cycle.keep_alive, self._closes_after_body = True, True
        if cycle.more_body and self._quick(cycle.scope):
            self._held = cycle, app
        else:
            super()._start_asgi_task(cycle, app)

    def _start_held(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._held = None
        if not cycle.more_body and self._closes_after_body:
            cycle.keep_alive = self._closes_after_body = False
        if cycle.more_body or self.transport.is_closing():
            super()._start_asgi_task(cycle, app)
        elif len(self.connections) < BATCH_CONNECTIONS:
            self.run_inline(cycle, app)
        else:
            self._batch.add(self, cycle, app)

    def run_inline(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Answer a complete request now. A task is created only if the answer has to wait for something."""
        if task := run_inline(cycle.run_asgi(SingleWrite(app, cycle)), self.loop):
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def on_response_complete(self) -> None:
        """Like uvicorn's method, but without a timer per answer: the timeout sweep closes idle connections."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._closes_after_body and not (self.cycle and self.cycle.more_body):
            self.transport.close()
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    # -- upgrades ----------------------------------------------------------------------------------------

    def _should_upgrade(self) -> bool:
        """True, so that uvicorn makes no cycle of a request with an upgrade."""
        return True

    def _read_without_upgrade(self, rest: bytes) -> None:
        """Ignore an upgrade (RFC 9110, section 7.8). The parser has stopped before the body, so a new parser reads the
        head again without the upgrade, and then the body. rest: the bytes after the head.
        """
        # "Connection" would name the upgrade again. Of its other values, only "close" has a meaning here.
        kept = [(name, value) for name, value in self.headers if name not in (b"upgrade", b"connection")]
        if any(name == b"connection" and b"close" in value.lower() for name, value in self.headers):
            kept.append((b"connection", b"close"))
        head = self.parser.get_method() + b" " + self.url + b" HTTP/1.1\r\n"
        head += b"".join(name + b": " + value + b"\r\n" for name, value in kept) + b"\r\n"
        self.parser = HttpRequestParser(self)
        self.data_received(head + rest)

    # -- limits ----------------------------------------------------------------------------------------

    def on_body(self, body: bytes) -> None:
        self._body_grew = True
        super().on_body(body)

    def _in_body(self) -> bool:
        cycle = self.cycle
        return cycle is not None and cycle.scope is self.scope and cycle.more_body

    def _count_overhead(self, size: int) -> None:
        """Count bytes that are no body: a head in parts, chunk extensions and trailers."""
        self._overhead_bytes = 0 if self._body_grew else self._overhead_bytes + size
        self._body_grew = False
        if self._overhead_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def _refuse_head(self) -> None:
        self._overhead_bytes = 0
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(refusal(431, "head_too_large", HEAD_TOO_LARGE))
            self.transport.write_eof()
        # Not closed here: closing with unread input resets the connection, and the peer would lose the answer.
        # The timeout sweep closes it.
        self.transport.set_protocol(DiscardInput(self))

    def send_400_response(self, msg: str) -> None:
        self.transport.write(refusal(400, "malformed_request", msg))
        self.transport.close()

    # -- deadlines -------------------------------------------------------------------------------------

    def time_limit_s(self, read_timeout_s: float, write_timeout_s: float, keep_alive_s: float) -> float | None:
        """Seconds that the peer may take for its current step. None while the peer waits for the service."""
        if self.transport.is_closing() or self.flow.write_paused:
            return write_timeout_s
        if self.flow.read_paused:
            return None
        cycle = self.cycle
        if cycle is None or (cycle.more_body and not cycle.response_complete):
            return read_timeout_s
        if not cycle.response_complete:
            return None
        if not self._is_idle() or self._closes_after_body:
            return read_timeout_s
        return keep_alive_s if len(self.connections) <= MANY_CONNECTIONS else min(keep_alive_s, SHORT_KEEP_ALIVE_S)

    def _is_idle(self) -> bool:
        """Whether the last request is answered and no part of the next one has arrived."""
        return self.cycle is not None and self.cycle.response_complete and self.cycle.scope is self.scope

    def end_overdue(self) -> None:
        """End a connection whose time limit is over, with an answer if the peer can still read one."""
        cycle = self.cycle
        if self._is_idle() and not self.flow.write_paused:
            self.transport.close()
            return
        if self.transport.is_closing() or self.flow.write_paused or (cycle and cycle.response_started):
            self.transport.abort()
            return
        if self.scope is not None:
            self.transport.write(refusal(408, "request_timeout", REQUEST_TIMEOUT))
        self.transport.close()
