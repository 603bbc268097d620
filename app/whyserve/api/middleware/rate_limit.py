"""How much each key may ask: a bucket a caller, which fills at a rate and is emptied by what is asked."""

import time
from math import ceil

from whyserve.errors import RateLimited


class RateLimit:
    """So many units a second for each caller, and `burst_s` seconds' worth of them at once."""

    def __init__(self, rate: float, burst_s: float, what: str) -> None:
        self._rate, self._most, self._what = rate, max(1.0, rate * burst_s), what
        # Caller → what was left in the bucket, and when that was.
        self._left: dict[str | None, tuple[float, float]] = {}

    def take(self, caller: str | None, units: float = 1.0) -> None:
        """Raises RateLimited. What is more than a whole bucket goes once the bucket is full, and is paid off after."""
        now = time.monotonic()
        left, then = self._left.get(caller, (self._most, now))
        left = min(self._most, left + (now - then) * self._rate)
        wanted = min(units, self._most)
        if left < wanted:
            wait_s = ceil((wanted - left) / self._rate)
            raise RateLimited(f"{self._what}; ask again in {wait_s} s", retry_after_s=wait_s)
        self._left[caller] = (left - units, now)
