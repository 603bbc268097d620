"""Repeat a call to the queue until the queue is available."""

import logging
import threading
import time
from collections.abc import Callable

from whyserve.errors import Unavailable

log = logging.getLogger("whyserve.worker")

RETRY_S = 0.2  # between two calls
STOP_S = 5.0  # how long a stopping worker continues to call


def retry(call: Callable[[], object], stopping: threading.Event) -> None:
    """Call until it does not raise Unavailable. Once `stopping` is set, give up after STOP_S seconds in all."""
    began = time.monotonic()
    while True:
        try:
            call()
            return
        except Unavailable as error:
            if stopping.is_set() and time.monotonic() - began > STOP_S:
                return
            log.warning("%s", error.message)
            time.sleep(RETRY_S)
