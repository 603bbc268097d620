"""Answers for peers whose bytes never became a request, and the end of their input."""

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from whyserve.api.errors.problems import problem

HEADERS = ((b"connection", b"close"), (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


def refusal(status: int, code: str, detail: str, *headers: tuple[bytes, bytes]) -> bytes:
    """A complete HTTP/1.1 response with a problem as its body. The caller must close the connection afterwards."""
    answer = problem(status, code, detail)
    lines = [name + b": " + value + b"\r\n" for name, value in (*answer.raw_headers, *HEADERS, *headers)]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", bytes(answer.body)])


class DiscardInput(asyncio.Protocol):
    """Receives bytes and drops them, until the peer or the timeout sweep closes the connection."""

    def __init__(self, connection: asyncio.Protocol) -> None:
        self._connection = connection

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)
