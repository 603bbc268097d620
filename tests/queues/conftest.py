"""Both queues as one fixture, `world`, and helpers for tests of their three sides."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.queues.redis_server import RedisServer
from whyserve.jobs import ExplainJob, JobState, Lease, job_error, new_id
from whyserve.model.arrays import PackedArray
from whyserve.queue_protocols import JobQueue, JobSource, JobStore
from whyserve.queues.redis_store import RedisStore
from whyserve.queues.store import Store
from whyserve.queues.terms import Terms

DIGEST = "d" * 64
LEASE_S = 0.4
TERMS = Terms(100, 60.0, LEASE_S, 64 << 20)
FAULT = job_error("explanation_failed", "no luck")


def job(**change: Any) -> ExplainJob:
    array = PackedArray.pack(np.ones((1, 2), dtype=np.float32))
    facts: dict[str, Any] = {
        "id": new_id(), "model": "wine", "version": 1, "digest": DIGEST, "rows": {"x": array}, "served": array,
        "outputs": [["a"]], "created": time.time(),
    }  # fmt: skip
    return ExplainJob(**facts | change)


@dataclass
class World:
    """One queue. store: opens what holds the jobs, with changed terms."""

    store: Callable[..., JobStore]
    sources: list[JobSource] = field(default_factory=list)

    def queue(self, **terms: float) -> JobQueue:
        return JobQueue(self.store(**terms))

    def source(self, owner: str, **terms: float) -> JobSource:
        return JobSource(self.store(**terms), owner)

    def admin(self) -> JobStore:
        return self.store()

    def worker(self, owner: str = "w1", digests: tuple[str, ...] = (DIGEST,), **terms: float) -> JobSource:
        source = self.source(owner, **terms)
        self.sources.append(source)
        source.announce(digests)
        return source


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


def embedded_world(folder: Path) -> World:
    return World(lambda **change: Store(folder, replace(TERMS, **change)))


def redis_world(url: str, prefix: str) -> World:
    return World(lambda **change: RedisStore(url, replace(TERMS, **change), prefix))


@pytest.fixture(params=["embedded", "redis"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "embedded":
        world = embedded_world(tmp_path)
    else:
        world = redis_world(request.getfixturevalue("redis_server").url, f"whyserve:{new_id()}:")
    yield world
    for source in world.sources:
        source.close()


def run(world: World, scene: Callable[[JobQueue], Awaitable[Any]], **terms: float) -> Any:
    """Run `scene` on the API's side of the queue, on an event loop of its own."""

    async def main() -> Any:
        queue = world.queue(**terms)
        try:
            return await asyncio.wait_for(scene(queue), 30)
        finally:
            await queue.close()

    return asyncio.run(main())


async def final(queue: JobQueue, job_id: str, timeout_s: float) -> JobState:
    """The job's state once it is final, or after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not (state := await queue.state(job_id)).status.is_final and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    return state


async def off_loop(function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(function, *arguments)


def take(source: JobSource, limit: int, timeout_s: float = 0, **which: bool) -> list[Lease]:
    """Jobs for a worker, as soon as there are any, or none after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not (leases := source.take(limit, **which)) and time.monotonic() < end:
        time.sleep(0.01)
    return leases


def one(source: JobSource, timeout_s: float = 2.0) -> Lease:
    """Take exactly one job."""
    (lease,) = take(source, 1, timeout_s)
    return lease
