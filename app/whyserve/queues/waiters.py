"""The coroutines of one process that wait for jobs, and how they are woken."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable

from whyserve.jobs import JobState

# A wake-up can be lost. A waiter therefore looks again after this many seconds.
LOOK_AGAIN_S = 1.0


class Waiters:
    """To be used on one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    async def wait(self, job_id: str, look: Callable[[str], Awaitable[JobState]], timeout_s: float) -> JobState:
        """The job's state once it is final, or after `timeout_s`. Raises what `look` raises.

        look: returns the state of a job now.
        """
        deadline = time.monotonic() + timeout_s
        changed = asyncio.Event()
        self._waiting[job_id].add(changed)
        try:
            while True:
                # Cleared before the look: a change during the look sets the event again.
                changed.clear()
                state = await look(job_id)
                left = deadline - time.monotonic()
                if state.status.is_final or left <= 0:
                    return state
                try:
                    async with asyncio.timeout(min(left, LOOK_AGAIN_S)):
                        await changed.wait()
                except TimeoutError:
                    pass
        finally:
            self._waiting[job_id].discard(changed)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    def wake(self, job_id: str) -> None:
        for changed in self._waiting.get(job_id, ()):
            changed.set()
