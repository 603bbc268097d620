"""Send large answers: compressed on request, in parts, and within a limit for the bytes of all of them."""

import asyncio
import gzip
from collections.abc import Mapping

from starlette.types import Message, Send

from whyserve.errors import Busy

# A smaller answer is sent in one part, and neither compressed nor counted.
LARGE = 64 << 10


class Answers:
    """The large answers that are being sent. held_bytes: of all of them."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.held_bytes = max_bytes, 0

    async def send(self, send: Send, head: Message, body: bytes, headers: Mapping[bytes, bytes]) -> None:
        """Send a complete answer of at least LARGE bytes. headers: of the request. Raises Busy before the first part.

        `send` waits while the peer reads slowly, so that the answer is held once and not in the connection's buffer.
        """
        if self.held_bytes and self.held_bytes + len(body) > self.max_bytes:
            raise Busy("the service is sending too many large answers; retry later", retry_after_s=1)
        size = len(body)
        self.held_bytes += size
        try:
            if b"gzip" in headers.get(b"accept-encoding", b"") and _is_plain(head):
                body = await asyncio.to_thread(gzip.compress, body, 1, mtime=0)
                kept = [header for header in head["headers"] if header[0] != b"content-length"]
                added = [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
                head = {**head, "headers": [*kept, *added, (b"content-length", b"%d" % len(body))]}
            await send(head)
            parts = memoryview(body)
            for at in range(0, len(body), LARGE):
                part, more = bytes(parts[at : at + LARGE]), at + LARGE < len(body)
                await send({"type": "http.response.body", "body": part, "more_body": more})
        finally:
            self.held_bytes -= size


def _is_plain(head: Message) -> bool:
    """Whether the answer is text that nobody has compressed yet."""
    names = dict(head["headers"])
    return b"content-encoding" not in names and names.get(b"content-type", b"").startswith(
        (b"application/json", b"text/")
    )
