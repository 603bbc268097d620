"""Wake-ups between processes of one machine: a datagram on a Unix socket, so that nobody polls.

A wake-up is a hint and may be lost; what is true stands in the store. Each process listens on a socket of its
own, `<role>-<owner>.sock` in the queue's folder, and the other role's processes send to every socket of that role.
"""

import contextlib
import hashlib
import os
import select
import socket
import tempfile
from pathlib import Path

WORKER, API = "worker", "api"
# sockaddr_un holds 108 bytes on Linux and 104 on macOS; a name of ours takes up to 50.
LONGEST_FOLDER = 50


def socket_folder(state: Path) -> Path:
    """Where the sockets of this queue lie: its own folder, or where that is too long a path, a short one."""
    if len(os.fsencode(state)) <= LONGEST_FOLDER:
        return state
    short = Path(tempfile.gettempdir(), f"whyserve-{hashlib.sha256(os.fsencode(state)).hexdigest()[:12]}")
    short.mkdir(mode=0o700, exist_ok=True)
    return short


class Wakeup:
    """One process's socket, and its way to ring the other role's."""

    def __init__(self, state: Path, role: str, owner: str) -> None:
        self._folder = socket_folder(state.resolve())
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
                path.unlink(missing_ok=True)  # its process is gone
            except BlockingIOError:
                pass  # it has more wake-ups waiting than it can hold: it will look

    def drain(self) -> list[str]:
        """All wake-ups received so far."""
        received = []
        with contextlib.suppress(BlockingIOError):
            while True:
                received.append(self._socket.recv(256).decode())
        return received

    def wait(self, timeout_s: float) -> list[str]:
        """Block until a wake-up comes, or the time is over."""
        select.select([self._socket], [], [], max(0.0, timeout_s))
        return self.drain()

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)
