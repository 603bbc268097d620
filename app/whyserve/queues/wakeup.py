"""Wake-ups between processes of one machine: datagrams on Unix sockets, so that processes need not poll.

A wake-up may be lost; the store holds the state. Each process listens on its own socket, `<role>-<owner>.sock` in the
queue's folder. A process of one role sends to all sockets of the other role.
"""

import contextlib
import select
import socket
from pathlib import Path

from whyserve.delivery.unix_server import socket_folder

WORKER, API = "worker", "api"


class Wakeup:
    """One process's socket, and the sending of wake-ups to the other role's sockets."""

    def __init__(self, state: Path, role: str, owner: str) -> None:
        self._folder = socket_folder(state)
        self._path = self._folder / f"{role}-{owner}.sock"
        self._others = f"{API if role == WORKER else WORKER}-*.sock"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._path.unlink(missing_ok=True)
        self._socket.bind(str(self._path))
        self._path.chmod(0o600)

    def fileno(self) -> int:
        return self._socket.fileno()

    def ring(self, message: str) -> None:
        """Wake every process of the other role."""
        for path in self._folder.glob(self._others):
            try:
                self._socket.sendto(message.encode(), str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                path.unlink(missing_ok=True)  # its process has ended
            except BlockingIOError:
                pass  # its buffer is full of wake-ups, so it will look anyway

    def drain(self) -> list[str]:
        """All wake-ups received so far."""
        received = []
        with contextlib.suppress(BlockingIOError):
            while True:
                received.append(self._socket.recv(256).decode())
        return received

    def wait(self, timeout_s: float) -> list[str]:
        """All wake-ups received so far; blocks up to `timeout_s` for the first."""
        select.select([self._socket], [], [], max(0.0, timeout_s))
        return self.drain()

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)
