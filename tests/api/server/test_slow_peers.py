"""Peers that send or read slowly are disconnected in time, and nobody waits for them."""

import contextlib
import threading
import time
from pathlib import Path

import pytest

from tests.api.raw_http import (
    BODY,
    HEAD,
    READ_S,
    read_all,
    read_answer,
    sized,
    still_serves,
)


@pytest.fixture(scope="module")
def api(start_api):
    return start_api("--max-body-mb", "2", "--read-timeout-s", str(READ_S), "--max-requests", "40")


@pytest.mark.parametrize(
    "start",
    [b"", b"POST /", HEAD, HEAD + b"Content-Length: 999\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n99\r\n{"],
    ids=["nothing", "an address", "half a head", "half a body", "half a chunk"],
)
@pytest.mark.parametrize("drip", [b"", b"a"], ids=["silent", "dripping"])
def test_a_slow_peer_is_disconnected_in_time(start, drip, api):
    if start == b"":
        drip *= 0
    with api.connect() as peer:
        began = time.monotonic()
        peer.sendall(start)
        stop = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while drip and not stop.wait(0.2):
                    peer.sendall(drip)

        sender = threading.Thread(target=trickle)
        sender.start()
        answer = read_all(peer)
        took = time.monotonic() - began
        stop.set()
        sender.join()
    # Without the start of a request, the connection is closed without an answer.
    assert not answer or answer.startswith(b"HTTP/1.1 408 ")
    assert took < READ_S + 8
    still_serves(api)


MANY = 300  # answers that no socket's buffers hold
SCHEMA = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def impatient(start_api):
    return start_api("--write-timeout-s", "3")


def connections(api) -> int:
    """The connections that the API holds: established, or closed by the peer alone."""
    lines = [line.split() for line in Path(f"/proc/{api.process.pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(int(line[1].rpartition(":")[2], 16) == api.port and line[3] in {"01", "08"} for line in lines)


def await_connections(api, count: int, within_s: float) -> None:
    end = time.monotonic() + within_s
    while connections(api) != count:
        assert time.monotonic() < end, f"{connections(api)} connections, not {count}"
        time.sleep(0.1)


def test_a_peer_that_never_reads_is_disconnected(impatient):
    await_connections(impatient, 0, within_s=10)
    with impatient.connect() as peer:
        peer.sendall(SCHEMA * MANY)
        await_connections(impatient, 1, within_s=10)
        await_connections(impatient, 0, within_s=30)
        received = read_all(peer)
    assert received.count(b"HTTP/1.1 200 ") < MANY
    still_serves(impatient)


def test_a_peer_that_reads_late_gets_all_answers(impatient):
    with impatient.connect() as peer:
        peer.sendall(SCHEMA * (MANY - 1) + SCHEMA.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        time.sleep(1)
        received = read_all(peer)
    assert received.count(b"HTTP/1.1 200 ") == MANY
    assert received.endswith(b"}")


def test_parts_and_pauses_within_the_limits_are_accepted(api):
    request = sized(BODY, b"Content-Type: application/json")
    with api.connect() as peer:
        for first in (0, 10, len(request) - 20):
            peer.sendall(request[:first])
            time.sleep(0.3)
            peer.sendall(request[first:])
            assert read_answer(peer)[0] == 200
        time.sleep(READ_S + 0.5)
        peer.sendall(request)
        assert read_answer(peer)[0] == 200
