"""`python -m whyserve.processes.healthcheck api|worker`: is this container well? Exit code 0 or 1, and why.

It runs every few seconds, so it imports nothing that takes long.
"""

import http.client
import os
import sys
import time

PATIENCE_S = 2.0
STALE_S = 60.0  # longer than any one pass of a network


def api() -> str | None:
    """What is wrong with the API, if anything."""
    port = int(os.environ.get("WHYSERVE_PORT", "8000"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/health/ready")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"the API does not answer on port {port}: {error}"
    finally:
        connection.close()
    return None if status == http.HTTPStatus.OK else f"/health/ready answers {status}"


def worker() -> str | None:
    """What is wrong with the worker, if anything: it touches a file whenever the queue has answered it."""
    file = os.environ.get("WHYSERVE_HEALTH_FILE")
    if not file:
        return "WHYSERVE_HEALTH_FILE is not set; set it for the worker and for this check"
    try:
        silent_s = time.time() - os.stat(file).st_mtime
    except OSError:
        return "the worker has not reached the queue yet"
    return None if silent_s < STALE_S else f"the worker has not heard of the queue for {silent_s:.0f} s"


def main() -> None:
    fault = {"api": api, "worker": worker}[sys.argv[1]]()
    sys.stdout.write(f"{fault or 'well'}\n")
    sys.exit(1 if fault else 0)


if __name__ == "__main__":
    main()
