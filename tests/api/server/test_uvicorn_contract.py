"""What api/server/ and processes/api.py assume about uvicorn, checked against a running uvicorn server.

A failure here after an upgrade names the assumption that no longer holds.
"""

import asyncio
import inspect
import logging
import threading
import time
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from tests.api.server.uvicorn_server import read_answer, serving
from whyserve.api.server.connection import connection_factory

POST = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
PROTOCOLS: dict[str, Any] = {"uvicorn": lambda: HttpToolsProtocol, "ours": connection_factory}


class App:
    """/echo answers with the body. /slow does so when `go_on` is set. Other paths do something wrong."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.started = threading.Event()

    def quick(self, scope: Any) -> bool:
        return bool(scope["path"] != "/slow")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        path = scope["path"]
        self.started.set()
        body = (await receive())["body"]
        if path == "/slow":
            await self.go_on.wait()
        if path == "/nothing":
            return None
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if path == "/head":
            return None
        if path == "/error":
            raise RuntimeError("after the head")
        await send({"type": "http.response.body", "body": body})
        return "a value" if path == "/value" else None


@pytest.fixture(params=PROTOCOLS)
def protocol(request):
    return PROTOCOLS[request.param]()


# -- names and signatures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (HttpToolsProtocol.__init__, ["config", "server_state", "app_state", "_loop"]),
        (HttpToolsProtocol.connection_made, ["transport"]),
        (HttpToolsProtocol.connection_lost, ["exc"]),
        (HttpToolsProtocol.data_received, ["data"]),
        (HttpToolsProtocol.on_body, ["body"]),
        (HttpToolsProtocol.on_response_complete, []),
        (HttpToolsProtocol.send_400_response, ["msg"]),
        (HttpToolsProtocol._start_asgi_task, ["cycle", "app"]),
        (RequestResponseCycle.run_asgi, ["app"]),
        (RequestResponseCycle.send, ["message"]),
        (FlowControl.resume_reading, []),
        (uvicorn.Server.on_tick, ["counter"]),
        (uvicorn.Server.handle_exit, ["sig", "frame"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_signatures(method, parameters):
    assert list(inspect.signature(method).parameters) == ["self", *parameters]


def test_status_lines():
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"
    assert STATUS_LINE[431].startswith(b"HTTP/1.1 431 ")


# -- one request -------------------------------------------------------------------------------------------


class Recorder(HttpToolsProtocol):
    """Notes its calls in their order, and its attributes when the parser has read a whole request."""

    def __init__(self, log: list[Any], **arguments: Any) -> None:
        log.append(sorted(arguments))
        self.log = log
        super().__init__(**arguments)

    def data_received(self, data: bytes) -> None:
        self.log.append("data_received")
        super().data_received(data)
        assert self.scope is self.cycle.scope
        assert self.app is self.config.loaded_app
        self.log.append({**vars(self.cycle), "cycle": type(self.cycle), "in connections": self in self.connections,
                         "tasks": len(self.tasks), "pipeline": len(self.pipeline)})  # fmt: skip

    def on_headers_complete(self) -> None:
        self.log.append("on_headers_complete")
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.log.append("_start_asgi_task")
        assert cycle.more_body  # the body has not been parsed
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self.log.append("on_body")
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.log.append("on_message_complete")
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.log.append("on_response_complete")
        super().on_response_complete()


def test_order_of_calls_and_state_of_a_request():
    log: list[Any] = []
    with serving(App(), lambda **arguments: Recorder(log, **arguments)) as (_, connect), connect() as peer:
        peer.sendall(POST % b"/echo")
        read_answer(peer)
    arguments, *calls = log
    assert arguments == ["_loop", "app_state", "config", "server_state"]
    state = next(each for each in calls if isinstance(each, dict))
    assert [each for each in calls if isinstance(each, str)] == [
        "data_received",
        "on_headers_complete",
        "_start_asgi_task",  # inside on_headers_complete
        "on_body",
        "on_message_complete",
        "on_response_complete",  # the application runs after data_received
    ]
    assert state["cycle"] is RequestResponseCycle
    assert state["body"] == b"body"
    for name in ("more_body", "response_started", "response_complete", "disconnected"):
        assert state[name] is False, name
    assert state["keep_alive"] is True
    assert isinstance(state["message_event"], asyncio.Event)
    assert (state["flow"].read_paused, state["flow"].write_paused) == (False, False)
    assert state["on_response"].__name__ == "on_response_complete"
    assert (state["in connections"], state["tasks"], state["pipeline"]) == (True, 1, 0)


def test_one_write_sends_the_bytes_that_uvicorn_sends():
    answers = {}
    for name, make in PROTOCOLS.items():
        with serving(App(), make()) as (server, connect), connect() as peer:
            found = []
            for _ in range(3):  # the connection stays open
                peer.sendall(POST % b"/echo")
                found.append(read_answer(peer))
            answers[name] = found, server.server_state.total_requests
    assert answers["ours"] == answers["uvicorn"]
    assert answers["ours"][1] == 3


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        (b"/nothing", "returned without starting response"),
        (b"/value", "should return None"),
    ],
)
def test_an_application_that_breaks_the_asgi_contract(path, logged, protocol, caplog):
    """run_asgi finds this from the cycle's flags, which SingleWrite sets too."""
    with caplog.at_level(logging.ERROR), serving(App(), protocol) as (_, connect), connect() as peer:
        peer.sendall(POST % path)
        received = b"".join(iter(lambda: peer.recv(65536), b""))
    assert logged in caplog.text
    if path == b"/nothing":
        assert received.startswith(STATUS_LINE[500])
        assert received.endswith(b"Internal Server Error")


@pytest.mark.parametrize("path", [b"/head", b"/error"])
def test_an_answer_without_a_body_becomes_a_500(path):
    with serving(App(), connection_factory()) as (_, connect), connect() as peer:
        peer.sendall(POST % path)
        received = b"".join(iter(lambda: peer.recv(65536), b""))
    assert received.startswith(STATUS_LINE[500])


# -- several requests ----------------------------------------------------------------------------------------


def test_pipelined_requests_wait_for_their_turn(protocol):
    app = App()
    with serving(app, protocol) as (server, connect), connect() as peer:
        peer.sendall(POST % b"/slow" + POST % b"/echo" + POST % b"/echo")
        assert app.started.wait(30)
        (connection,) = server.server_state.connections
        assert len(connection.pipeline) == 2  # type: ignore[union-attr]
        connection.loop.call_soon_threadsafe(app.go_on.set)
        for _ in range(3):
            read_answer(peer)
        assert server.server_state.total_requests == 3


def test_the_server_ticks_and_closes_idle_connections_when_it_ends(protocol):
    with serving(App(), protocol) as (server, connect):
        peer = connect()
        peer.sendall(POST % b"/echo")
        read_answer(peer)
        end = time.monotonic() + 30
        while len(server.ticks) < 3:
            assert time.monotonic() < end
            time.sleep(0.05)
    assert server.ticks[:3] == [server.ticks[0], server.ticks[0] + 1, server.ticks[0] + 2]
    assert peer.recv(1) == b""
    peer.close()
