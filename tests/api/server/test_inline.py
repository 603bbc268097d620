"""Requests that run without a task, next to requests that need one: equal answers, in order."""

import json
import socket
from contextlib import ExitStack

import pytest

from tests.conftest import example


def request(path, body, *headers):
    head = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def answers(connection, count):
    """(status, head, body) of each."""
    received = b""
    found: list[tuple[int, bytes, bytes]] = []
    while len(found) < count:
        head, end, rest = received.partition(b"\r\n\r\n")
        length = next(
            (int(x.split(b":")[1]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length")), 0
        )
        if end and len(rest) >= length:
            found.append((int(head.split()[1]), head.lower(), rest[:length]))
            received = rest[length:]
            continue
        part = connection.recv(1 << 16)
        if not part:
            break
        received += part
    return found


@pytest.fixture
def connection(service):
    host, port = service.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as made:
        yield made


WINE = json.dumps(example("wine")).encode()
# Its network takes too long for the event loop, so its answer comes from a thread.
DIGITS = json.dumps(example("digits")).encode()


def test_pipelined_requests_are_answered_in_order(connection):
    """Predictions, an invalid request, a GET and an explanation, all sent before any answer is read."""
    sent = [
        request("/predict", WINE, "X-Request-ID: one"),
        request("/predict", b"{", "X-Request-ID: two"),
        request("/predict", DIGITS, "X-Request-ID: three"),
        b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-ID: four\r\n\r\n",
        request("/explain", WINE, "X-Request-ID: five"),
        request("/predict", WINE, "X-Request-ID: six"),
    ]
    connection.sendall(b"".join(sent))
    found = answers(connection, len(sent))
    assert [status for status, _, _ in found] == [200, 400, 200, 200, 200, 200]
    for (_, head, _), name in zip(found, ("one", "two", "three", "four", "five", "six"), strict=True):
        assert f"x-request-id: {name}".encode() in head
    assert found[0][2] == found[-1][2]


def test_each_connection_gets_its_own_answer(service):
    """Fast, invalid and slow predictions. One caller disconnects before its answer."""
    host, port = service.address.removeprefix("http://").split(":")
    bodies = {"quick": (WINE, 200), "faulty": (b"{", 400), "slow": (DIGITS, 200)}
    with ExitStack() as peers:
        asked = []
        for number in range(24):
            name = ("quick", "faulty", "quick", "slow")[number % 4]
            made = peers.enter_context(socket.create_connection((host, int(port)), timeout=30))
            asked.append((made, f"{name}-{number}", name))
        for _ in range(3):
            with socket.create_connection((host, int(port)), timeout=30) as gone:
                for made, identity, name in asked:
                    made.sendall(request("/predict", bodies[name][0], f"X-Request-ID: {identity}"))
                gone.sendall(request("/predict", WINE))
            said: dict[str, bytes] = {}
            for made, identity, name in asked:
                ((status, head, body),) = answers(made, 1)
                assert status == bodies[name][1]
                assert f"x-request-id: {identity}".encode() in head
                assert said.setdefault(name, body) == body


def test_a_body_in_parts_gets_the_same_answer(connection):
    whole = request("/predict", WINE)
    connection.sendall(whole)
    ((_, _, wanted),) = answers(connection, 1)
    for cut in (1, whole.index(b"\r\n\r\n"), whole.index(b"\r\n\r\n") + 4, len(whole) - 1):
        connection.sendall(whole[:cut])
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(30)
        connection.sendall(whole[cut:])
        assert answers(connection, 1)[0][2] == wanted


def test_connection_close_is_answered_and_closed(connection):
    connection.sendall(request("/predict", WINE, "Connection: close"))
    ((status, head, _),) = answers(connection, 1)
    assert status == 200
    assert b"connection: close" in head
    assert connection.recv(1) == b""


def test_expect_100_continue(connection):
    head, body = request("/predict", WINE, "Expect: 100-continue").split(b"\r\n\r\n", 1)
    connection.sendall(head + b"\r\n\r\n")
    assert connection.recv(1 << 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(body)
    assert answers(connection, 1)[0][0] == 200
