"""The child processes of `whyserve up`: how they are started and stopped."""

import os
import signal
import socket
import subprocess
import sys
import time

from whyserve.jobs import new_id
from whyserve.processes.parent import PARENT_FD
from whyserve.settings import UpSettings


class Children:
    """Starts the export, the API and the worker, and stops the last two.

    running: role → process, of the API and the worker.
    owner: the name of the current worker in the queue.
    """

    def __init__(self, settings: UpSettings, listening: socket.socket) -> None:
        self._settings, self._listening = settings, listening
        # Only this process holds the writing end: children see the pipe's end when this process ends.
        self._parent_read, self._parent_write = os.pipe()
        self._started: dict[str, float] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.owner = ""

    def start(self, role: str) -> None:
        """Start the API or a worker."""
        if role == "worker":
            self.owner = f"up-{new_id()[:12]}"
            self.running[role] = self._start(role, WHYSERVE_OWNER=self.owner)
        else:
            self.running[role] = self._start(role, "--fd", str(self._listening.fileno()))

    def start_export(self) -> subprocess.Popen[bytes]:
        return self._start("export")

    def _start(self, role: str, *flags: str, **environment: str) -> subprocess.Popen[bytes]:
        # Only the API inherits the listening socket. If another process held it too, it would stay open when the API
        # closes it, and callers would connect to nobody.
        inherited = [self._listening.fileno()] if role == "api" else []
        given = {f"WHYSERVE_{key.upper()}": str(value) for key, value in self._settings if value is not None}
        own = {PARENT_FD: str(self._parent_read), "KERAS_BACKEND": "torch"}
        self._started[role] = time.monotonic()
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "whyserve.cli", role, *flags],
            env={**os.environ, **given, **own, **environment},
            pass_fds=[self._parent_read, *inherited],
            start_new_session=True,  # Ctrl-C reaches this process alone, which stops its children in order
        )

    def seconds_since_start(self, role: str) -> float:
        return time.monotonic() - self._started[role]

    def stop(self, number: int, within_s: float) -> list[str]:
        """Stop API and worker by a signal, and kill what has not ended in time. Returns the roles killed."""
        end = time.monotonic() + within_s
        killed = []
        # The API first: its requests in flight need the worker. What the worker has not finished by its end goes back
        # to the queue. Of the time, 2 seconds are the worker's at least.
        for role, reserved_s in (("api", 2.0), ("worker", 0.0)):
            child = self.running[role]
            if child.poll() is None:
                child.send_signal(number)
            try:
                child.wait(max(0.0, end - time.monotonic() - reserved_s))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                killed.append(role)
        return killed


def how_it_died(code: int) -> str:
    """An exit code in words."""
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
