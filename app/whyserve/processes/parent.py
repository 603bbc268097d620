"""Ends a child process when its parent ends, even by SIGKILL: the child watches a pipe that the parent holds open."""

import os
import signal
import threading

PARENT_FD = "WHYSERVE_PARENT_FD"


def stop_with_parent() -> None:
    """Send this process SIGTERM when the parent that gave it a pipe has ended. Does nothing without such a parent."""
    if fd := os.environ.pop(PARENT_FD, None):
        threading.Thread(target=_watch, args=(int(fd),), name="parent", daemon=True).start()


def _watch(fd: int) -> None:
    os.read(fd, 1)  # returns when the parent has ended: nothing is ever written
    os.kill(os.getpid(), signal.SIGTERM)
