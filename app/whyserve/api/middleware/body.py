"""Read request bodies, within a limit for each body and a limit for all of them."""

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from whyserve.errors import Busy, TooLarge

# All bodies together may hold as much memory as this many of the largest size.
MAX_LARGE_BODIES = 8


class BodyMemory:
    """Counts the bytes of all bodies that are being read."""

    def __init__(self, max_bytes: int) -> None:
        """max_bytes: of one body."""
        self.max_bytes, self.max_total_bytes, self.held_bytes = max_bytes, MAX_LARGE_BODIES * max_bytes, 0

    def check(self, size: int) -> None:
        """Raises TooLarge."""
        if size > self.max_bytes:
            raise TooLarge(f"the body is larger than {self.max_bytes >> 20} MiB; send fewer instances per request")


class MeteredReceive:
    """A request's `receive` that counts the bytes. Raises TooLarge, Busy."""

    def __init__(self, receive: Receive, memory: BodyMemory) -> None:
        self._receive, self._memory, self._held_bytes = receive, memory, 0

    async def __call__(self) -> Message:
        return self.count(await self._receive())

    def count(self, message: Message) -> Message:
        size = len(message.get("body", b""))
        self._held_bytes += size
        self._memory.held_bytes += size
        self._memory.check(self._held_bytes)
        if self._memory.held_bytes > self._memory.max_total_bytes:
            raise Busy("the service is reading too many large requests; retry later", retry_after_s=1)
        return message

    def release(self) -> None:
        self._memory.held_bytes -= self._held_bytes
        self._held_bytes = 0


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
