"""The worker's priority: predictions come first on a busy machine."""

import os
from contextlib import suppress
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")


def lower_priority(nice: int) -> None:
    """Set the nice level of this process, and of its session if the process leads it.

    Linux may schedule each session as a group (sched(7), "The autogroup feature"). The nice level of a process then
    counts inside its session only, and the session has a level of its own. If another process leads the session, such
    as a shell, its level stays.
    """
    os.nice(nice)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # not on this system, or not allowed in this container
            AUTOGROUP.write_text(str(nice))
