"""A child that ends with its parent, however that ends: it watches a pipe that only the parent holds open."""

import os
import signal
import threading

PARENT_FD = "WHYSERVE_PARENT_FD"


def stop_with_parent() -> None:
    """Send this process SIGTERM once the parent that gave it a pipe is gone."""
    if fd := os.environ.pop(PARENT_FD, None):
        threading.Thread(target=_watch, args=(int(fd),), name="parent", daemon=True).start()


def _watch(fd: int) -> None:
    os.read(fd, 1)  # returns only at the end of the pipe: nobody writes
    os.kill(os.getpid(), signal.SIGTERM)
