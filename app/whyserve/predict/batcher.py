"""Run the requests that wait at the same time as one batch, in a thread beside the event loop.

No request waits for a batch to fill: an idle model starts at once, and the requests that arrive meanwhile are the next
batch. Every request gets its answer, even if another request of its batch fails or is cancelled.
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
    """One event loop owns it."""

    def __init__(self, run: Run, max_rows: int, name: str, on_wait: Callable[[int], None] = lambda _: None) -> None:
        """max_rows: of one batch; a larger request runs alone. on_wait: called with each request's waiting time, ns."""
        self._run, self._max_rows, self._on_wait = run, max_rows, on_wait
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"predict-{name}")
        self._waiting: deque[_Waiter] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def __call__(self, arrays: Arrays, rows: int) -> np.ndarray:
        """arrays: by input, (rows, *shape). Returns (rows, columns).

        Raises the model's error, and Unavailable if the service shuts down.
        """
        if self._closed:
            raise shutting_down()
        loop = asyncio.get_running_loop()
        waiter = _Waiter(arrays, rows, loop.create_future())
        self._waiting.append(waiter)
        if self._task is None:
            self._task = loop.create_task(self._run_batches())
        return await waiter.answer

    async def _run_batches(self) -> None:
        try:
            while batch := self._next_batch():
                now = perf_counter_ns()
                for waiter in batch:
                    self._on_wait(now - waiter.since)
                await self._answer(batch)
        finally:
            self._task = None
            for waiter in self._waiting:  # not empty only if this task was cancelled, because the loop ends
                _fail(waiter, shutting_down())
            self._waiting.clear()

    def _next_batch(self) -> list[_Waiter]:
        """The oldest requests that fit together. Cancelled requests are dropped before any work."""
        batch: list[_Waiter] = []
        rows = 0
        while self._waiting:
            waiter = self._waiting[0]
            if batch and rows + waiter.rows > self._max_rows:
                break
            self._waiting.popleft()
            if not waiter.answer.done():
                batch.append(waiter)
                rows += waiter.rows
        return batch

    async def _answer(self, batch: list[_Waiter]) -> None:
        try:
            running = asyncio.get_running_loop().run_in_executor(self._thread, self._run, _joined(batch))
            table = await running
        except asyncio.CancelledError:
            for waiter in batch:
                _fail(waiter, shutting_down())
            raise
        except Exception as error:
            # One bad request must not fail the others, so each runs again alone.
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

    async def close(self) -> None:
        """Answer all waiting requests, and refuse new ones."""
        self._closed = True
        if self._task is not None:
            await asyncio.wait([self._task])
        self._thread.shutdown()


def _joined(batch: list[_Waiter]) -> Arrays:
    if len(batch) == 1:
        return batch[0].arrays
    return {name: np.concatenate([waiter.arrays[name] for waiter in batch]) for name in batch[0].arrays}


def _fail(waiter: _Waiter, error: Exception) -> None:
    if not waiter.answer.done():
        waiter.answer.set_exception(error)


def shutting_down() -> Unavailable:
    return Unavailable("the service is shutting down; retry on another instance", retry_after_s=1)
