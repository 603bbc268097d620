"""How a request and an answer travel: JSON alone, or JSON and then the tensors' bytes; perhaps compressed."""

import asyncio
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from whyserve.errors import InvalidInput, TooLarge

JSON_LENGTH = b"inference-header-content-length"
WINDOWS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}  # zlib's: 31 is gzip's frame around it, 15 its own
LONGEST_NUMBER = 12
JSON_TYPE = (b"content-type", b"application/json")
BYTES_TYPE = (b"content-type", b"application/octet-stream")


@dataclass(frozen=True, slots=True)
class WireBody:
    """json: None where the body is one tensor and nothing else. tail: the tensors' bytes, in their order."""

    json: bytes | None
    tail: memoryview


@dataclass(frozen=True, slots=True)
class Packed:
    """An answer."""

    headers: list[tuple[bytes, bytes]]
    body: bytes

    def response(self) -> Response:
        made = Response(self.body)
        made.raw_headers = self.headers
        return made


async def unpack(headers: Iterable[tuple[bytes, bytes]], body: bytes, most_bytes: int) -> WireBody:
    """most_bytes: that a compressed body may become. Raises InvalidInput, TooLarge."""
    length = coding = b""
    for name, value in headers:
        if name == JSON_LENGTH:
            length = value.strip()
        elif name == b"content-encoding":
            coding = value.strip().lower()
    if coding not in (b"", b"identity"):
        if coding not in WINDOWS:
            raise InvalidInput("Content-Encoding must be gzip, deflate or identity")
        # Beside the event loop: it may take long, and zlib lets others run meanwhile.
        body = await asyncio.to_thread(_inflated, body, WINDOWS[coding], most_bytes)
    return _split(body, length)


def _inflated(body: bytes, window: int, most_bytes: int) -> bytes:
    inflater = zlib.decompressobj(window)
    try:
        whole = inflater.decompress(body, most_bytes + 1)
    except zlib.error:
        raise InvalidInput("the body is not what its Content-Encoding says") from None
    if len(whole) > most_bytes:
        raise TooLarge(f"the body is more than {most_bytes >> 20} MiB when unpacked")
    if not inflater.eof or inflater.unused_data:
        raise InvalidInput("the compressed body ends before its time, or goes on after its end")
    return whole


def _split(body: bytes, length: bytes) -> WireBody:
    if not length:
        return WireBody(body, memoryview(b""))
    if not length.isdigit() or len(length) > LONGEST_NUMBER:
        raise InvalidInput("Inference-Header-Content-Length must be a number of bytes")
    size = int(length)
    if size > len(body):
        raise InvalidInput(f"Inference-Header-Content-Length is more than the body's {len(body)} bytes")
    return WireBody(body[:size] if size else None, memoryview(body)[size:])


def pack(json: bytes, parts: Sequence[bytes]) -> Packed:
    """parts: of the tensors that go as bytes."""
    if not parts:
        return Packed([JSON_TYPE, (b"content-length", b"%d" % len(json))], json)
    body = b"".join([json, *parts])
    return Packed([BYTES_TYPE, (JSON_LENGTH, b"%d" % len(json)), (b"content-length", b"%d" % len(body))], body)
