"""Send answers: compressed on request, in pieces, and within the limit for the memory of all bodies."""

import asyncio
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from whyserve.api.middleware.body import BodyMemory

JSON_ANSWER = "whyserve.json"
# An answer of this size fits into one packet, and gains nothing from compression.
SMALL = 1400
# The size of a piece. A smaller answer does not count.
LARGE = 64 << 10
# zlib's level, of which higher ones take several times as long for a few percent, and its wbits for gzip's frame.
FASTEST, GZIP_FRAME = 1, 31
GZIP = re.compile(rb"(?:^|[\s,])(?:gzip|\*)(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))")


class PartsAnswer:
    """JSON in parts, for quick endpoints. A part that occurs many times is in memory once, if the whole is large."""

    def __init__(self, parts: Sequence[bytes], headers: Mapping[str, str]) -> None:
        self._parts = parts
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = sum(map(len, self._parts))
        if size <= LARGE:
            await send(json_answer(b"".join(self._parts), self._headers))
            return
        await send(json_head(size, self._headers))
        await send({"type": "http.response.body", "parts": self._parts})


def json_response(body: Any, status: int = 200) -> Response:
    """body: may hold NumPy's arrays."""
    return Response(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


def json_answer(content: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> Message:
    """A complete answer of JSON as one message, which RequestMiddleware sends as the two messages of ASGI.

    For quick endpoints: a Response, or a second message, costs too much beside a small model's prediction.
    """
    return {"type": JSON_ANSWER, "body": content, "headers": headers}


def json_head(size: int, headers: Sequence[tuple[bytes, bytes]]) -> Message:
    """The head of an answer of JSON. size: of its content, bytes."""
    own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % size)]
    return {"type": "http.response.start", "status": 200, "headers": [*own, *headers]}


async def send_answer(
    send: Send, head: Message, parts: Sequence[bytes], headers: Mapping[bytes, bytes], memory: BodyMemory
) -> None:
    """Send a complete answer that is not empty. headers: of the request. Raises Busy before the first byte.

    `send` waits while the peer reads slowly, so that the answer is held once and not in the connection's buffer.
    """
    left = sum(map(len, parts))
    gzips = left > SMALL and accepts_gzip(headers.get(b"accept-encoding", b""))
    gzips = gzips and b"content-encoding" not in dict(head["headers"])
    packer = zlib.compressobj(FASTEST, wbits=GZIP_FRAME) if gzips else None
    held = sum(map(len, {id(part): part for part in parts}.values())) if left >= LARGE else 0
    if held:
        memory.take(held, "sending too many large answers")
    try:
        for number, piece in enumerate(_pieces(parts)):
            left -= len(piece)
            content = piece if packer is None else packer.compress(piece) + (b"" if left else packer.flush())
            if number == 0:
                await send(head if packer is None else _packed(head, None if left else len(content)))
            await send({"type": "http.response.body", "body": content, "more_body": left > 0})
            if left:
                await asyncio.sleep(0)  # other requests run between two pieces
    finally:
        memory.release(held)


def accepts_gzip(accept_encoding: bytes) -> bool:
    return GZIP.search(accept_encoding.lower()) is not None


def _pieces(parts: Sequence[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of LARGE to 2 * LARGE bytes; the last one may be smaller."""
    waiting: list[memoryview] = []
    size = 0
    for part in parts:
        for first in range(0, len(part), LARGE):
            waiting.append(memoryview(part)[first : first + LARGE])
            size += len(waiting[-1])
            if size >= LARGE:
                yield b"".join(waiting)
                waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _packed(head: Message, length: int | None) -> Message:
    """The head of a compressed answer. length: of its content, if it is known."""
    kept = [header for header in head["headers"] if header[0] != b"content-length"]
    added = [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
    if length is not None:
        added.append((b"content-length", b"%d" % length))
    return {**head, "headers": [*kept, *added]}
