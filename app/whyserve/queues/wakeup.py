"""Wake-ups for the workers of one machine: datagrams on Unix sockets, so that workers need not poll.

A wake-up may be lost; the store holds the state. Each worker listens on its own socket in the queue's folder.
"""

import contextlib
import select
import socket
from pathlib import Path

from whyserve.delivery.unix_server import socket_folder

# A worker that waits looks again after this many seconds, even without a wake-up.
LOOK_AGAIN_S = 1.0


def ring(state: Path) -> None:
    """Wake every worker."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.setblocking(False)
        for path in socket_folder(state).glob("worker-*.sock"):
            try:
                bell.sendto(b"!", str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                path.unlink(missing_ok=True)  # its process has ended
            except BlockingIOError:
                pass  # its buffer is full of wake-ups, so it will look anyway


class Wakeup:
    """A worker's socket."""

    def __init__(self, state: Path, owner: str) -> None:
        self._path = socket_folder(state) / f"worker-{owner}.sock"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._path.unlink(missing_ok=True)
        self._socket.bind(str(self._path))
        self._path.chmod(0o600)

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Forget the wake-ups so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(1)

    def wait(self, timeout_s: float) -> None:
        """Wait for a wake-up, at most so long."""
        select.select([self._socket], [], [], max(0.0, timeout_s))
        self.drain()

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)
