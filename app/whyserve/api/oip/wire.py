"""Bodies on the wire: JSON alone, or JSON followed by the tensors' bytes. Requests may be compressed."""

import asyncio
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from whyserve.errors import InvalidInput, TooLarge

JSON_LENGTH = b"inference-header-content-length"
WINDOWS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}  # zlib's wbits: 31 expects gzip's frame, 15 zlib's own
MAX_DIGITS = 12
JSON_TYPE = (b"content-type", b"application/json")
BYTES_TYPE = (b"content-type", b"application/octet-stream")


@dataclass(frozen=True, slots=True)
class WireBody:
    """json: None if the body is one tensor's bytes. tail: the tensors' bytes, in the order of the JSON."""

    json: bytes | None
    tail: memoryview


@dataclass(frozen=True, slots=True)
class PackedResponse:
    """A response, as headers and body."""

    headers: list[tuple[bytes, bytes]]
    body: bytes

    def response(self) -> Response:
        made = Response(self.body)
        made.raw_headers = self.headers
        return made


async def unpack(headers: Iterable[tuple[bytes, bytes]], body: bytes, max_bytes: int) -> WireBody:
    """max_bytes: limit after decompression. Raises InvalidInput, TooLarge."""
    length = coding = b""
    for name, value in headers:
        if name == JSON_LENGTH:
            length = value.strip()
        elif name == b"content-encoding":
            coding = value.strip().lower()
    if coding not in (b"", b"identity"):
        if coding not in WINDOWS:
            raise InvalidInput("Content-Encoding must be gzip, deflate or identity")
        # In a thread, because it may take long. zlib releases Python's lock.
        body = await asyncio.to_thread(_decompressed, body, WINDOWS[coding], max_bytes)
    return _split(body, length)


def _decompressed(body: bytes, window: int, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(window)
    try:
        whole = inflater.decompress(body, max_bytes + 1)
    except zlib.error:
        raise InvalidInput("the body does not match its Content-Encoding") from None
    if len(whole) > max_bytes:
        raise TooLarge(f"the body is larger than {max_bytes >> 20} MiB after decompression; send fewer rows")
    if not inflater.eof or inflater.unused_data:
        raise InvalidInput("the compressed body is cut off, or has extra bytes at its end")
    return whole


def _split(body: bytes, length: bytes) -> WireBody:
    if not length:
        return WireBody(body, memoryview(b""))
    if not length.isdigit() or len(length) > MAX_DIGITS:
        raise InvalidInput("Inference-Header-Content-Length must be a number of bytes: the length of the JSON")
    size = int(length)
    if size > len(body):
        raise InvalidInput(f"Inference-Header-Content-Length is larger than the body, which has {len(body)} bytes")
    return WireBody(body[:size] if size else None, memoryview(body)[size:])


def pack(json: bytes, parts: Sequence[bytes]) -> PackedResponse:
    """parts: the bytes of the binary tensors, in the order of the JSON."""
    if not parts:
        return PackedResponse([JSON_TYPE, (b"content-length", b"%d" % len(json))], json)
    body = b"".join([json, *parts])
    return PackedResponse([BYTES_TYPE, (JSON_LENGTH, b"%d" % len(json)), (b"content-length", b"%d" % len(body))], body)
