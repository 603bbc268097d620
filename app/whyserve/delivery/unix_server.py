"""The API's Unix socket, to which the workers of this machine connect."""

import asyncio
import hashlib
import os
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from whyserve.delivery.dispatcher import Dispatcher, WorkerLink
from whyserve.delivery.frames import Decoder
from whyserve.errors import ConfigurationError

# A socket's path may have 108 bytes on Linux and 104 on macOS; the file's name takes up to 50 of them.
LONGEST_FOLDER = 50


def socket_folder(state: Path) -> Path:
    """The folder of all sockets: `state`, or a temporary folder if that path is too long for a socket.

    Raises ConfigurationError if the folder is in a folder for everybody, such as /tmp, and belongs to another user.
    """
    folder = state.resolve()
    if len(os.fsencode(folder)) > LONGEST_FOLDER:
        folder = Path(tempfile.gettempdir(), f"whyserve-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}")
        folder.mkdir(mode=0o700, exist_ok=True)
    with suppress(FileNotFoundError):
        found = folder.lstat()
        is_shared = folder.parent.stat().st_mode & stat.S_ISVTX
        if is_shared and (
            found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & stat.S_IWOTH
        ):
            raise ConfigurationError(
                f"WHYSERVE_STATE: other users may write to the folder of the sockets, {folder}; delete it, or set"
                " another state folder"
            )
    return folder


def listening_apis(folder: Path) -> Sequence[Path]:
    """The sockets of the APIs, also of APIs that have ended."""
    return list(folder.glob("direct-*.sock"))


def api_name(path: Path) -> str:
    """The name of the API that listens there."""
    return path.stem.removeprefix("direct-")


class UnixServer:
    """Accepts workers for a dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._connections: set[_Connection] = set()
        self._server: asyncio.AbstractServer | None = None

    async def start(self, state: Path, name: str) -> None:
        """Raises OSError if the socket cannot be made."""
        loop = asyncio.get_running_loop()
        self._path = socket_folder(state) / f"direct-{name}.sock"
        # Workers find the socket by its final name, when it listens. They delete a socket that refuses them.
        new = self._path.with_suffix(".new")
        self._server = await loop.create_unix_server(lambda: _Connection(self._dispatcher, self._connections), str(new))
        new.chmod(0o600)
        new.rename(self._path)

    def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        self._path.unlink(missing_ok=True)
        for connection in list(self._connections):
            connection.end()


class _Connection(asyncio.Protocol):
    """A Transport."""

    def __init__(self, dispatcher: Dispatcher, connections: "set[_Connection]") -> None:
        self._dispatcher, self._connections = dispatcher, connections
        self._decoder, self._link = Decoder(), WorkerLink(self)
        self._frames: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is a Transport
        self._transport = transport
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            self._dispatcher.received(self._link, frame)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        self._dispatcher.lost(self._link)

    def send(self, frame: bytes) -> None:
        """The frames of one turn of the loop are one write: the worker wakes once and computes them together."""
        self._frames.append(frame)
        if len(self._frames) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        frames, self._frames = self._frames, []
        self._transport.write(b"".join(frames))

    def end(self) -> None:
        self._transport.abort()
