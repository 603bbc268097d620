"""An API's side and workers' sides of direct delivery, connected by real sockets."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.queues.conftest import DIGEST
from whyserve.delivery.direct_source import DirectSource
from whyserve.delivery.dispatcher import Dispatcher
from whyserve.delivery.frames import Reply
from whyserve.delivery.unix_server import UnixServer
from whyserve.explain.worker.scheduler import Scheduler
from whyserve.jobs import JobResult, Lease

LEASE_S = 0.6
CREDITS = 4


class Worker:
    """One worker's side, with signs of life unless it is silent."""

    def __init__(self, state: Path, owner: str, digests: tuple[str, ...], silent: bool) -> None:
        self._queue = os.eventfd(0)  # a queue without news
        self.source = DirectSource(state, owner, CREDITS, self._queue)
        self._stop = threading.Event()
        self.source.announce(digests)
        self.source.connect()
        if not silent:
            threading.Thread(target=self.source.beat, args=(self._stop, LEASE_S), daemon=True).start()

    def take(self, limit: int = 10, timeout_s: float = 3.0) -> list[Lease]:
        """Start jobs, as the worker's loop does."""
        end = time.monotonic() + timeout_s
        self.source.poll(0.05)
        while not (chosen := Scheduler(limit).choose(self.source.waiting)) and time.monotonic() < end:
            self.source.poll(0.05)
        self.source.start(chosen)
        return chosen

    def answer(self, *leases: Lease) -> None:
        for lease in leases:
            self.source.finish(lease, Reply(JobResult(b'{"id":"%s"}' % lease.job.id.encode(), [b"1"], "exact"), 0.25))
        self.source.flush()

    def close(self) -> None:
        if not self._stop.is_set():
            self._stop.set()
            self.source.close()
            os.close(self._queue)


class World:
    def __init__(self, state: Path) -> None:
        self.state = state
        self._workers: list[Worker] = []

    async def worker(self, owner: str = "w1", digests: tuple[str, ...] = (DIGEST,), silent: bool = False) -> Worker:
        worker = await asyncio.to_thread(Worker, self.state, owner, digests, silent)
        self._workers.append(worker)
        await asyncio.sleep(0.05)  # until the API has read the introduction
        return worker

    def run(self, scene: Callable[[Dispatcher], Awaitable[Any]], depth: int = 100) -> None:
        """Run `scene` in an API, on an event loop of its own."""

        async def main() -> None:
            dispatcher = Dispatcher(depth)
            server = UnixServer(dispatcher, LEASE_S)
            await server.start(self.state)
            try:
                await asyncio.wait_for(scene(dispatcher), 30)
            finally:
                server.close()
                await asyncio.sleep(0.01)  # for the ends of the connections

        try:
            asyncio.run(main())
        finally:
            for worker in self._workers:
                worker.close()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
