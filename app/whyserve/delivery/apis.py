"""A worker's connections to APIs, whatever carries their bytes."""

from collections.abc import Collection, Sequence
from typing import Protocol

from whyserve.delivery.frames import Frame


class Api:
    """A connection to one API. replies: to be sent by the next `flush`."""

    name: str

    def __init__(self) -> None:
        self.replies: list[bytes] = []

    def send(self, frames: bytes) -> None:
        """Safe in any thread. A connection that fails is ended, which `Transport.receive` reports."""
        raise NotImplementedError

    def flush(self) -> None:
        if self.replies:
            frames, self.replies = self.replies, []
            self.send(b"".join(frames))


Received = tuple[Api, Sequence[Frame] | None]
"""Frames of an API; None if its connection has ended."""


class Transport(Protocol):
    """The connections of one kind. One thread calls all methods.

    is_invited: a new API asks for a connection. `connect` clears it.
    """

    is_invited: bool

    def fileno(self) -> int:
        """A file that is readable if there may be something to receive."""
        ...

    @property
    def apis(self) -> Collection[Api]: ...

    def connect(self, hello: bytes, elsewhere: Collection[str]) -> None:
        """Connect to new APIs, and send them this frame. elsewhere: names of APIs that need no connection here."""
        ...

    def receive(self) -> Sequence[Received]:
        """What has arrived. It does not wait."""
        ...

    def lose(self, api: Api) -> None:
        """Close a connection, or forget one that has ended."""
        ...

    def close(self) -> None: ...
