"""Requests that wait at the same time run as one batch, in a thread beside the event loop.

Nothing waits for a batch to fill: an idle model starts at once, and what arrives while it runs is the next
batch. Every waiter gets its answer, whatever happens to the others of its batch.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter_ns

import numpy as np

from whyserve.errors import Unavailable
from whyserve.model.rows import Arrays

Run = Callable[[Arrays], np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    arrays: Arrays
    rows: int
    answer: asyncio.Future[np.ndarray]
    since: int = field(default_factory=perf_counter_ns)


class Batcher:
    """Belongs to one event loop."""

    def __init__(self, run: Run, most_rows: int, name: str, waited: Callable[[int], None] = lambda _: None) -> None:
        """most_rows: of one batch; a request of more runs alone. waited: told for how many ns each request did."""
        self._run, self._most_rows, self._waited = run, most_rows, waited
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"predict-{name}")
        self._waiting: deque[_Waiter] = deque()
        self._serving: asyncio.Task[None] | None = None
        self._closed = False

    async def __call__(self, arrays: Arrays, rows: int) -> np.ndarray:
        """(rows, columns). Raises what the model raises, and Unavailable once closed."""
        if self._closed:
            raise _stopping()
        loop = asyncio.get_running_loop()
        waiter = _Waiter(arrays, rows, loop.create_future())
        self._waiting.append(waiter)
        if self._serving is None:
            self._serving = loop.create_task(self._serve())
        return await waiter.answer

    async def _serve(self) -> None:
        try:
            while batch := self._next():
                now = perf_counter_ns()
                for waiter in batch:
                    self._waited(now - waiter.since)
                await self._answer(batch)
        finally:
            self._serving = None
            for waiter in self._waiting:  # only where this task was cancelled: the loop is ending
                _fail(waiter, _stopping())
            self._waiting.clear()

    def _next(self) -> list[_Waiter]:
        """The oldest that fit together; those that nobody waits for any more are dropped before any work."""
        batch: list[_Waiter] = []
        rows = 0
        while self._waiting:
            waiter = self._waiting[0]
            if batch and rows + waiter.rows > self._most_rows:
                break
            self._waiting.popleft()
            if not waiter.answer.done():
                batch.append(waiter)
                rows += waiter.rows
        return batch

    async def _answer(self, batch: list[_Waiter]) -> None:
        try:
            table = await self._in_thread(_joined(batch))
        except asyncio.CancelledError:
            for waiter in batch:
                _fail(waiter, _stopping())
            raise
        except Exception as error:
            # One request's fault is not its neighbours': each is tried alone.
            if len(batch) == 1:
                _fail(batch[0], error)
            else:
                for waiter in batch:
                    if not waiter.answer.done():
                        await self._answer([waiter])
            return
        first = 0
        for waiter in batch:
            if not waiter.answer.done():
                waiter.answer.set_result(table[first : first + waiter.rows])
            first += waiter.rows

    async def _in_thread(self, arrays: Arrays) -> np.ndarray:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, arrays)

    async def close(self) -> None:
        """Answer all who wait, and take no more."""
        self._closed = True
        if self._serving is not None:
            await asyncio.wait([self._serving])
        self._thread.shutdown()


def _joined(batch: list[_Waiter]) -> Arrays:
    if len(batch) == 1:
        return batch[0].arrays
    return {name: np.concatenate([waiter.arrays[name] for waiter in batch]) for name in batch[0].arrays}


def _fail(waiter: _Waiter, error: Exception) -> None:
    if not waiter.answer.done():
        waiter.answer.set_exception(error)


def _stopping() -> Unavailable:
    return Unavailable("the service is stopping; ask again", retry_after_s=1)
