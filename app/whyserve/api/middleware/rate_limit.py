"""Rate limits: one token bucket per caller."""

import time
from math import ceil

from whyserve.errors import RateLimited


class RateLimit:
    """`rate` units per second for each caller, and up to `burst_s` seconds' worth at once."""

    def __init__(self, rate: float, burst_s: float, message: str) -> None:
        """message: what RateLimited says, before the time to wait."""
        self._rate, self._capacity, self._message = rate, max(1.0, rate * burst_s), message
        # Caller → (units left in the bucket, time of that level).
        self._left: dict[str | None, tuple[float, float]] = {}

    def take(self, caller: str | None, units: float = 1.0) -> None:
        """Take units from the caller's bucket. Raises RateLimited.

        A request for more than the capacity needs a full bucket, and leaves a debt.
        """
        now = time.monotonic()
        left, then = self._left.get(caller, (self._capacity, now))
        left = min(self._capacity, left + (now - then) * self._rate)
        needed = min(units, self._capacity)
        if left < needed:
            wait_s = ceil((needed - left) / self._rate)
            raise RateLimited(f"{self._message}; retry in {wait_s} s", retry_after_s=wait_s)
        self._left[caller] = (left - units, now)
