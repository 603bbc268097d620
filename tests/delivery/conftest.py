"""An API's side and workers' sides of direct delivery, connected by real sockets."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.queues.conftest import DIGEST, redis_server
from whyserve.delivery.apis import Transport
from whyserve.delivery.direct_source import DirectSource
from whyserve.delivery.dispatcher import Dispatcher
from whyserve.delivery.frames import Reply
from whyserve.delivery.listening import listening
from whyserve.delivery.redis_apis import RedisApis
from whyserve.delivery.unix_apis import UnixApis
from whyserve.explain.worker.scheduler import Scheduler
from whyserve.jobs import JobResult, Lease
from whyserve.settings import Settings

__all__ = ["redis_server"]

LEASE_S = 0.6
CREDITS = 4


class Worker:
    """One worker's side, with signs of life unless it is silent."""

    def __init__(self, transport: Transport, owner: str, digests: tuple[str, ...], silent: bool) -> None:
        self.source = DirectSource([transport], owner, CREDITS)
        self._stop = threading.Event()
        self.source.announce(digests)
        self.source.connect()
        end = time.monotonic() + 3
        while not transport.apis and time.monotonic() < end:
            self.source.poll(0.05)
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


class World:
    """redis_url: of the Redis that carries the frames; without it, Unix sockets do."""

    def __init__(self, state: Path, redis_url: str | None) -> None:
        self.state, self.redis_url = state, redis_url
        self._workers: list[Worker] = []

    async def worker(self, owner: str = "w1", digests: tuple[str, ...] = (DIGEST,), silent: bool = False) -> Worker:
        transport = RedisApis(self.redis_url) if self.redis_url else UnixApis(self.state)
        worker = await asyncio.to_thread(Worker, transport, owner, digests, silent)
        self._workers.append(worker)
        await asyncio.sleep(0.05)  # until the API has read the introduction
        return worker

    def run(self, scene: Callable[[Dispatcher], Awaitable[Any]], depth: int = 100) -> None:
        """Run `scene` in an API, on an event loop of its own."""

        async def main() -> None:
            dispatcher = Dispatcher(depth)
            settings = Settings(state=self.state, redis_url=self.redis_url, lease_s=LEASE_S)
            async with listening(dispatcher, settings):
                await asyncio.wait_for(scene(dispatcher), 30)
            await asyncio.sleep(0.01)  # for the ends of the connections

        try:
            asyncio.run(main())
        finally:
            for worker in self._workers:
                worker.close()


@pytest.fixture(params=["unix", "redis"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path, request.getfixturevalue("redis_server").url if request.param == "redis" else None)
