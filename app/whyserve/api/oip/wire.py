"""Bodies on the wire: JSON alone, or JSON followed by the tensors' bytes."""

from codecs import BOM_UTF8
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from whyserve.errors import InvalidInput

JSON_LENGTH = b"inference-header-content-length"
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


def unpack(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> WireBody:
    """Raises InvalidInput."""
    length = next((value.strip() for name, value in headers if name == JSON_LENGTH), b"")
    if not length:
        return WireBody(body.removeprefix(BOM_UTF8), memoryview(b""))
    if not length.isdigit() or len(length) > MAX_DIGITS:
        raise InvalidInput("Inference-Header-Content-Length must be a number of bytes: the length of the JSON")
    size = int(length)
    if size > len(body):
        raise InvalidInput(f"Inference-Header-Content-Length is larger than the body, which has {len(body)} bytes")
    return WireBody(body[:size].removeprefix(BOM_UTF8) if size else None, memoryview(body)[size:])


def pack(json: bytes, parts: Sequence[bytes]) -> PackedResponse:
    """parts: the bytes of the binary tensors, in the order of the JSON."""
    if not parts:
        return PackedResponse([JSON_TYPE, (b"content-length", b"%d" % len(json))], json)
    body = b"".join([json, *parts])
    return PackedResponse([BYTES_TYPE, (JSON_LENGTH, b"%d" % len(json)), (b"content-length", b"%d" % len(body))], body)
