"""`python -m whyserve.processes.healthcheck api|worker`: a container's health check, and the worker's side of it.

Prints "healthy" or the problem; the exit code is 0 or 1. It runs every few seconds, so it imports only modules that
load fast.
"""

import http.client
import os
import sys
import time
from pathlib import Path

from whyserve.errors import ConfigurationError

TIMEOUT_S = 2.0
STALE_S = 60.0  # longer than one forward pass of any network


class Heartbeat:
    """Touches the worker's file when it is called: after each answer of the queue, and between the chunks of a
    computation.

    The threads that renew leases do not call it: they go on even when the computing thread hangs.
    """

    def __init__(self, file: Path) -> None:
        """Raises ConfigurationError if the file cannot be written."""
        self._file = file
        try:
            self._file.unlink(missing_ok=True)
            self._file.touch()
            self._file.unlink()
        except OSError as error:
            raise ConfigurationError(
                f"WHYSERVE_HEALTH_FILE: cannot write {file}: {error.strerror}; name another file"
            ) from error

    def __call__(self) -> None:
        self._file.touch()


def api() -> str | None:
    """The API's problem; None if it is healthy."""
    port = int(os.environ.get("WHYSERVE_PORT", "8000"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health/ready")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"the API does not answer on port {port}: {error}"
    finally:
        connection.close()
    return None if status == http.HTTPStatus.OK else f"/health/ready answers {status}"


def worker() -> str | None:
    """The worker's problem; None if it is healthy. The worker touches a file after each answer of the queue."""
    file = os.environ.get("WHYSERVE_HEALTH_FILE")
    if not file:
        return "WHYSERVE_HEALTH_FILE is not set; set it to the same file for the worker and for this check"
    try:
        silent_s = time.time() - os.stat(file).st_mtime
    except OSError:
        return "the worker has not reached the queue since its start"
    return None if silent_s < STALE_S else f"the worker has not reached the queue for {silent_s:.0f} s"


def main() -> None:
    problem = {"api": api, "worker": worker}[sys.argv[1]]()
    sys.stdout.write(f"{problem or 'healthy'}\n")
    sys.exit(1 if problem else 0)


if __name__ == "__main__":
    main()
