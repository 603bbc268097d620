"""A load generator: keep-alive connections with one request each at a time, in one uvloop process.

It sends prepared bytes and finds the end of a response by its Content-Length. A client library would be slower than
the servers that are measured.
"""

import asyncio
import random
import re
import time
from dataclasses import dataclass
from typing import Any

import uvloop

LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass(frozen=True, slots=True)
class Load:
    port: int
    request: bytes  # head and body, as sent
    connections: int
    rate: float = 0.0  # requests per second, over all connections; 0: each request follows the answer before it


@dataclass(frozen=True, slots=True)
class Figures:
    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float


def http_request(path: str, body: bytes, **headers: str) -> bytes:
    """The bytes of a POST request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, load: Load, latencies: list[float], until: float) -> None:
        self._request, self._latencies, self._until = load.request, latencies, until
        self._interval_s = load.connections / load.rate if load.rate else 0.0
        self._received = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:  # uvloop has its own transport class
        self._transport = transport
        self._began = time.perf_counter() + random.random() * self._interval_s
        self._send()

    def _send(self) -> None:
        if self._interval_s and (wait_s := self._began - time.perf_counter()) > 0:
            asyncio.get_running_loop().call_later(wait_s, self._transport.write, self._request)
            return
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(self._received, 0, head + 2)
        assert length is not None, self._received[:200]
        if len(self._received) < head + 4 + int(length[1]):
            return
        if not self._received.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(self._received[:500].decode(errors="replace")))
            self._transport.close()
            return
        now = time.perf_counter()
        self._latencies.append(now - self._began)
        self._received = b""
        # With a rate, a request is due at a fixed time, and its latency counts from then, also if it is sent late.
        self._began = self._began + self._interval_s if self._interval_s else now
        if max(now, self._began) < self._until:
            self._send()
        else:
            self._transport.close()
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server closed the connection before it answered"))


async def _drive(load: Load, seconds: float) -> list[float]:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    until = time.perf_counter() + seconds
    connections = [
        await loop.create_connection(lambda: _Connection(load, latencies, until), "127.0.0.1", load.port)
        for _ in range(load.connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in connections))
    return latencies


def drive(load: Load, seconds: float) -> Figures:
    """Load a server for `seconds`. Raises RuntimeError at the first response whose status is not 200."""
    began = time.perf_counter()
    latencies = sorted(uvloop.run(_drive(load, seconds)))
    whole = time.perf_counter() - began
    return Figures(
        len(latencies),
        len(latencies) / whole,
        1e3 * latencies[len(latencies) // 2],
        1e3 * latencies[int(0.99 * len(latencies))],
    )
