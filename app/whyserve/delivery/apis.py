"""A worker's connections to APIs, whatever carries their bytes."""

import selectors
from collections.abc import Collection, Sequence

from whyserve.delivery.frames import Frame


class Api:
    """A connection to one API. replies: to be sent by the next `flush`."""

    def __init__(self, name: str) -> None:
        self.name = name
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


class Transport:
    """The connections of one kind, by the names of the APIs. One thread calls all methods.

    selector: has something to read when `receive` has.
    is_invited: a new API asks for a connection. `connect` clears it.
    """

    def __init__(self) -> None:
        self.connected: dict[str, Api] = {}
        self.selector = selectors.DefaultSelector()
        self.is_invited = False

    @property
    def apis(self) -> Sequence[Api]:
        return list(self.connected.values())

    def connect(self, hello: bytes, elsewhere: Collection[str]) -> None:
        """Connect to new APIs, and send them this frame. elsewhere: APIs that need no connection here."""
        raise NotImplementedError

    def receive(self) -> Sequence[Received]:
        """What has arrived. It does not wait."""
        raise NotImplementedError

    def lose(self, api: Api) -> None:
        """Close a connection, or forget one that has ended."""
        raise NotImplementedError

    def close(self) -> None:
        self.selector.close()
