"""Requests as bytes on a socket, for tests of what a client library would never send."""

import contextlib
import json
import socket

import httpx

from tests.conftest import example

MEGABYTE = 1 << 20
BODY = json.dumps(example("linear")).encode()
HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\n"
READ_S = 2.0


def read_all(peer: socket.socket) -> bytes:
    """All bytes until the peer closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := peer.recv(65536):
            parts.append(part)
    return b"".join(parts)


def read_answer(peer: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One answer with a Content-Length."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = peer.recv(65536)
        assert part, received
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers["content-length"]):
        part = peer.recv(65536)
        assert part, received
        body += part
    return int(first.split()[1]), headers, body


def send_until_refused(peer: socket.socket, piece: bytes, most: int) -> None:
    """Send without reading any answer."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < most:
            peer.sendall(piece)
            sent += len(piece)


def ask(api, request: bytes) -> tuple[int, dict[str, str], bytes]:
    with api.connect() as peer:
        peer.sendall(request)
        return read_answer(peer)


def still_serves(api) -> None:
    answer = httpx.post(f"{api.address}/predict", json=example("linear"), trust_env=False)
    assert answer.status_code == 200, answer.text


def sized(body: bytes, *lines: bytes) -> bytes:
    return b"".join([HEAD, *(line + b"\r\n" for line in lines), b"Content-Length: %d\r\n\r\n" % len(body), body])
