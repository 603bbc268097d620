"""Read request bodies, within a limit for each body and a limit for the memory of all bodies."""

import asyncio
import zlib

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from whyserve.errors import Busy, InvalidInput, TooLarge, UnsupportedMediaType

WINDOWS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}  # zlib's wbits: 31 expects gzip's frame, 15 zlib's own
INFLATED_PART = 64 << 10


class BodyMemory:
    """Counts the bytes of all bodies in memory: of requests that are read, and of large answers that are sent."""

    def __init__(self, max_bytes: int, max_total_bytes: int) -> None:
        """max_bytes: of one request's body. max_total_bytes: of all bodies."""
        self._max_bytes, self.held_bytes = max_bytes, 0
        # One body at a time is joined beside its parts.
        self._max_total_bytes = max(max_bytes, max_total_bytes - max_bytes)

    def check(self, size: int) -> None:
        """Raises TooLarge."""
        if size > self._max_bytes:
            raise TooLarge(f"the body is larger than {self._max_bytes >> 20} MiB; send fewer instances per request")

    def take(self, size: int, doing: str) -> None:
        """Count more bytes until their `release`. doing: for the message. Raises Busy.

        If nothing else is in memory, any size is accepted.
        """
        if self.held_bytes and self.held_bytes + size > self._max_total_bytes:
            raise Busy(f"the service is {doing}; retry later", retry_after_s=1)
        self.held_bytes += size

    def release(self, size: int) -> None:
        self.held_bytes -= size


class MeteredReceive:
    """A request's `receive` that counts the bytes. Raises TooLarge, Busy."""

    def __init__(self, receive: Receive, memory: BodyMemory) -> None:
        self._receive, self._memory, self._held_bytes = receive, memory, 0

    async def __call__(self) -> Message:
        return self.count(await self._receive())

    def count(self, message: Message) -> Message:
        size = len(message.get("body", b""))
        self._memory.check(self._held_bytes + size)
        self._memory.take(size, "reading too many large requests")
        self._held_bytes += size
        return message

    def release(self) -> None:
        self._memory.release(self._held_bytes)
        self._held_bytes = 0


class InflatedReceive:
    """A request's `receive` that unpacks a compressed body part by part. Raises UnsupportedMediaType, InvalidInput.

    What reads the parts counts them, so that the limits hold for the unpacked bytes of all callers.
    """

    def __init__(self, receive: Receive, coding: bytes) -> None:
        if coding not in WINDOWS:
            raise UnsupportedMediaType("Content-Encoding must be gzip, deflate or identity")
        self._receive, self._inflater, self._input, self._more = receive, zlib.decompressobj(WINDOWS[coding]), b"", True

    async def __call__(self) -> Message:
        while True:
            if not self._input and self._more:
                message = await self._receive()
                if message["type"] != "http.request":
                    return message
                self._input, self._more = message.get("body", b""), message.get("more_body", False)
            try:
                part = self._inflater.decompress(self._input, INFLATED_PART)
            except zlib.error:
                raise InvalidInput("the body does not match its Content-Encoding") from None
            self._input = self._inflater.unconsumed_tail
            if self._inflater.eof or not (self._input or self._more or part):
                if not self._inflater.eof or self._inflater.unused_data:
                    raise InvalidInput("the compressed body is cut off, or has extra bytes at its end")
                return {"type": "http.request", "body": part, "more_body": False}
            if part:
                await asyncio.sleep(0)  # other requests run between two parts
                return {"type": "http.request", "body": part, "more_body": True}


async def read_body(receive: Receive, memory: BodyMemory) -> bytes:
    """A whole body. Raises TooLarge, Busy, and ClientDisconnect if the caller closes the connection first."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        whole: bytes = message.get("body", b"")  # most bodies arrive in one message
        memory.check(len(whole))
        return whole
    metered = MeteredReceive(receive, memory)
    try:
        parts: list[bytes] = []
        metered.count(message)
        while message["type"] == "http.request":
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                return b"".join(parts)
            message = await metered()
        raise ClientDisconnect
    finally:
        metered.release()
