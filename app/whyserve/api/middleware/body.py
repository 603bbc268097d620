"""Request bodies: read whole, and never more of them than there may be."""

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from whyserve.errors import Busy, TooLarge

# BodyMemory that may be in memory at once, each of the largest size.
TOGETHER = 8


class BodyMemory:
    """What all bodies that are being read take together."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.most_together, self.held = most_bytes, TOGETHER * most_bytes, 0

    def check(self, size: int) -> None:
        """Raises TooLarge."""
        if size > self.most_bytes:
            raise TooLarge(f"the body is larger than {self.most_bytes >> 20} MiB; send fewer instances at once")


class MeteredReceive:
    """One request's `receive`, which counts what comes. Raises TooLarge, Busy."""

    def __init__(self, receive: Receive, bodies: BodyMemory) -> None:
        self._receive, self._bodies, self._held = receive, bodies, 0

    async def __call__(self) -> Message:
        return self.count(await self._receive())

    def count(self, message: Message) -> Message:
        size = len(message.get("body", b""))
        self._held += size
        self._bodies.held += size
        self._bodies.check(self._held)
        if self._bodies.held > self._bodies.most_together:
            raise Busy("too many large requests are being read; ask again", retry_after_s=1)
        return message

    def release(self) -> None:
        self._bodies.held -= self._held
        self._held = 0


async def read_body(receive: Receive, bodies: BodyMemory) -> bytes:
    """Raises ClientDisconnect when the caller goes away first, and TooLarge, Busy."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        whole: bytes = message.get("body", b"")  # most bodies come in one piece
        bodies.check(len(whole))
        return whole
    metered = MeteredReceive(receive, bodies)
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
