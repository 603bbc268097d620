"""Connections over Redis: bytes in both directions between an API and a worker, in published messages.

Publishing writes nothing to disk. A message is lost if the reader's subscription ends, or if Redis drops a reader that
is too slow. The positions in the messages show this, and the connection is then ended, like a broken socket.

Each API and each worker reads a channel with its name. The channels `apis` and `workers` make the two known to each
other: a worker publishes its name to `apis`, and each API answers with its own name on the worker's channel. An API
publishes its name to `workers`. For each name that it reads, a worker opens a connection with the frame HELLO.
"""

import struct
from typing import Any, NamedTuple

from redis.backoff import NoBackoff
from redis.retry import Retry

from whyserve.delivery.frames import VERSION, Decoder, Frame

PREFIX = f"whyserve:direct:{VERSION}:"
APIS, WORKERS = "apis", "workers"
SOCKET_S, CONNECT_S = 5.0, 1.0
# The bytes of one direction that may be in Redis. Redis drops a reader for which it holds 32 MB.
WINDOW = 1 << 19
# The position in a message that ends a connection.
CLOSED = 2**64 - 1
_HEAD = struct.Struct("<32sIQQ")


def connection(retry: Any = Retry, retries: int = 1) -> dict[str, Any]:
    """Options of a connection. A command is retried if the server closed the connection: all may run twice."""
    return {
        "socket_timeout": SOCKET_S,
        "socket_connect_timeout": CONNECT_S,
        "retry": retry(NoBackoff(), retries),
        "decode_responses": False,
    }


class Message(NamedTuple):
    """position: of its first byte in the stream. received: the bytes of the other direction that its sender has."""

    sender: str
    number: int
    position: int
    received: int
    content: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> "Message":
        sender, number, position, received = _HEAD.unpack_from(data)
        return cls(sender.decode(), number, position, received, data[_HEAD.size :])

    def pack(self) -> bytes:
        return _HEAD.pack(self.sender.encode(), *self[1:4]) + self.content


def is_name(data: bytes) -> bool:
    """Whether this is the name of an API or of a worker, and not a message of a connection."""
    return len(data) < _HEAD.size


class Stream:
    """One end of a connection. number: tells it from earlier connections of the same API and worker."""

    def __init__(self, sender: str, number: int) -> None:
        self._sender, self.number = sender, number
        self._unsent, self._decoder = bytearray(), Decoder()
        # Positions: sent, and sent and read by the other end; received, and received as the other end knows it.
        self._sent = self._confirmed = self._received = self._reported = 0

    def write(self, frames: bytes) -> None:
        """Send these with the next messages."""
        self._unsent += frames

    def next(self, *, even_empty: bool = False) -> bytes | None:
        """The next message to publish, or None: there is nothing to say, or the other end has to read first."""
        size = min(len(self._unsent), WINDOW - (self._sent - self._confirmed))
        if not size and not even_empty and self._received - self._reported < WINDOW // 2:
            return None
        content = bytes(self._unsent[:size])
        del self._unsent[:size]
        message = Message(self._sender, self.number, self._sent, self._received, content)
        self._sent, self._reported = self._sent + size, self._received
        return message.pack()

    def read(self, message: Message) -> list[Frame] | None:
        """The frames that are complete now; None if the connection has ended, or a message was lost."""
        if message.position != self._received:
            return None
        self._received += len(message.content)
        self._confirmed = message.received
        return self._decoder.feed(message.content)
