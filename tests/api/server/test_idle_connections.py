"""How long an idle connection stays open."""

from typing import Any

import pytest

from tests.api.server.uvicorn_server import read_answer, serving
from whyserve.api.server import connection
from whyserve.api.server.connection import KEEP_ALIVE_S, SHORT_KEEP_ALIVE_S, connection_factory

# How long the clients and proxies that most callers use keep an idle connection.
HTTPX_S, NGINX_S, AWS_BALANCER_S = 5, 60, 60


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"body"})


@pytest.mark.parametrize(("many", "limit_s"), [(2, KEEP_ALIVE_S), (1, SHORT_KEEP_ALIVE_S)], ids=["few", "many"])
def test_an_idle_connection_outlives_its_clients_unless_there_are_many(many, limit_s, monkeypatch):
    monkeypatch.setattr(connection, "MANY_CONNECTIONS", many)
    with serving(app, connection_factory()) as (server, connect), connect() as first, connect() as second:
        for peer in (first, second):
            peer.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            read_answer(peer)
        connections: list[Any] = list(server.server_state.connections)
        limits = [each.time_limit_s(30, 30) for each in connections]
    assert limits == [limit_s, limit_s]


def test_the_client_closes_an_idle_connection_first():
    assert max(HTTPX_S, NGINX_S, AWS_BALANCER_S) < KEEP_ALIVE_S
