"""How long an idle connection stays open."""

from typing import Any

import pytest

from tests.api.raw_http import read_answer
from tests.api.server.uvicorn_server import read_answer as read_body
from tests.api.server.uvicorn_server import serving
from whyserve.api.server import connection
from whyserve.api.server.connection import SHORT_KEEP_ALIVE_S, connection_factory
from whyserve.settings import ApiSettings

# How long the clients and proxies that most callers use keep an idle connection.
HTTPX_S, NGINX_S, AWS_BALANCER_S = 5, 60, 60
KEEP_ALIVE_S = ApiSettings().keep_alive_s


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"body"})


@pytest.mark.parametrize(("many", "limit_s"), [(2, KEEP_ALIVE_S), (1, SHORT_KEEP_ALIVE_S)], ids=["few", "many"])
def test_an_idle_connection_outlives_its_clients_unless_there_are_many(many, limit_s, monkeypatch):
    monkeypatch.setattr(connection, "MANY_CONNECTIONS", many)
    with serving(app, connection_factory()) as (server, connect), connect() as first, connect() as second:
        for peer in (first, second):
            peer.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            read_body(peer)
        connections: list[Any] = list(server.server_state.connections)
        limits = [each.time_limit_s(30, 30, KEEP_ALIVE_S) for each in connections]
    assert limits == [limit_s, limit_s]


def test_the_client_closes_an_idle_connection_first():
    assert max(HTTPX_S, NGINX_S, AWS_BALANCER_S) < KEEP_ALIVE_S


def test_an_idle_connection_is_closed_without_an_answer(start_api):
    api = start_api("--keep-alive-s", "3")
    with api.connect() as peer:
        peer.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_answer(peer)[0] == 200
        assert peer.recv(1) == b""
