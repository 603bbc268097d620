"""The worker's connections to the APIs of its machine, over Unix sockets."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Collection, Sequence
from pathlib import Path

from whyserve.delivery.apis import Api, Received, Transport
from whyserve.delivery.frames import Decoder
from whyserve.delivery.unix_server import api_name, listening_apis, socket_folder

RECEIVE_BYTES = 1 << 18
# An API that does not read for so long is given up.
SEND_S = 5.0


class _UnixApi(Api):
    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        super().__init__(api_name(path))
        self.decoder, self._lock = Decoder(), threading.Lock()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(SEND_S)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise

    def send(self, frames: bytes) -> None:
        with self._lock:
            try:
                self.socket.sendall(frames)
            except OSError:
                # A part of the frame may have been sent, so no other frame can follow.
                with contextlib.suppress(OSError):
                    self.socket.shutdown(socket.SHUT_RDWR)

    def receive(self) -> Received:
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except OSError:
            data = b""
        return self, self.decoder.feed(data) if data else None


class UnixApis(Transport):
    def __init__(self, state: Path) -> None:
        super().__init__()
        self._folder = socket_folder(state)

    def connect(self, hello: bytes, elsewhere: Collection[str]) -> None:
        """Also deletes the sockets of APIs that have ended."""
        for path in listening_apis(self._folder):
            if (name := api_name(path)) in self.connected or name in elsewhere:
                continue
            try:
                api = _UnixApi(path)
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                pass  # it may be closing; tried again
            else:
                api.send(hello)
                self.connected[name] = api
                self.selector.register(api.socket, selectors.EVENT_READ, api)

    def receive(self) -> Sequence[Received]:
        return [key.data.receive() for key, _ in self.selector.select(0)]

    def lose(self, api: Api) -> None:
        assert isinstance(api, _UnixApi)
        self.selector.unregister(api.socket)
        api.socket.close()
        del self.connected[api.name]
