"""Direct delivery over a real Redis: what is lost is noticed, and nothing is kept."""

import asyncio
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import redis

from tests.delivery.conftest import CREDITS, LEASE_S, Worker, World
from tests.queues.conftest import DIGEST, job
from tests.queues.redis_server import RedisServer
from whyserve.delivery.apis import Transport
from whyserve.delivery.direct_source import DirectSource
from whyserve.delivery.dispatcher import Dispatcher
from whyserve.delivery.frames import Reply
from whyserve.delivery.listening import listening
from whyserve.delivery.redis_apis import RedisApis
from whyserve.delivery.redis_server import PROBE_S
from whyserve.delivery.unix_apis import UnixApis
from whyserve.errors import Unavailable
from whyserve.jobs import JobResult
from whyserve.model.arrays import PackedArray
from whyserve.settings import Settings

off_loop = asyncio.to_thread


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


@pytest.fixture
def world(server: RedisServer, tmp_path: Path) -> World:
    return World(tmp_path, server.url)


@asynccontextmanager
async def another_api(world: World) -> AsyncIterator[Dispatcher]:
    dispatcher = Dispatcher(100)
    async with listening(dispatcher, Settings(state=world.state, redis_url=world.redis_url, lease_s=LEASE_S)):
        yield dispatcher


async def until(condition, timeout_s: float = 5.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def connect_again(worker: Worker) -> None:
    """What the worker's loop does all the time."""
    worker.source.poll(0.05)
    worker.source.connect()


def test_nothing_is_written_to_redis_or_its_disk(world, server):
    client = redis.Redis.from_url(server.url)

    async def scene(direct):
        worker = await world.worker()
        written = client.info("persistence")["aof_current_size"]
        for _ in range(20):
            ticket = direct.submit(job())
            await off_loop(worker.answer, *await off_loop(worker.take))
            assert await ticket.within(3)
        assert client.dbsize() == 0
        assert client.info("persistence")["aof_current_size"] == written

    world.run(scene)
    client.close()


def test_jobs_and_results_of_any_size_arrive_while_redis_holds_little(world, server):
    client = redis.Redis.from_url(server.url)
    client.config_set("client-output-buffer-limit", "pubsub 2mb 2mb 60")
    rows = PackedArray.pack(np.random.default_rng(0).random((4, 512 * 1024)))  # 16 MiB
    result = JobResult(b'{"a":1}', [b'"%s"' % (b"x" * (4 << 20)), b'"%s"' % (b"y" * (4 << 20))], "exact")

    async def scene(direct):
        worker = await world.worker()
        ticket = direct.submit(job(rows={"x": rows}))
        (lease,) = await off_loop(worker.take, 1, 20)
        assert lease.job.rows["x"] == rows
        worker.source.finish(lease, Reply(result, 0.25))
        await off_loop(worker.source.flush)
        while not ticket.outcome:
            await off_loop(worker.source.poll, 0.05)
            await asyncio.sleep(0.001)
        assert ticket.outcome.result.json == result.json
        assert ticket.attempt == 1

    world.run(scene)
    client.close()


@pytest.mark.parametrize("data", ["kept", "lost"])
def test_after_a_restart_of_redis_the_job_is_delivered_again(world, server, data):
    async def scene(direct):
        worker = await world.worker()
        ticket = direct.submit(job())
        (lost,) = await off_loop(worker.take)
        server.stop(signal.SIGKILL)
        await until(lambda: not direct.reaches_workers)
        with pytest.raises(Unavailable):
            direct.submit(job())
        await off_loop(connect_again, worker)
        assert worker.source.report([lost], 0.5) == [False]
        if data == "lost":
            shutil.rmtree(world.state / "redis" / "appendonlydir")
        server.start()
        while not direct.serves(DIGEST):
            await off_loop(connect_again, worker)
        (again,) = await off_loop(worker.take)
        assert (again.job, again.fence) == (lost.job, 2)
        await off_loop(worker.answer, lost)
        assert not await ticket.within(0.1)
        await off_loop(worker.answer, again)
        assert await ticket.within(3)

    world.run(scene)


@pytest.mark.parametrize("side", ["api", "worker"])
def test_after_a_lost_subscription_the_job_is_delivered_again(world, server, side):
    client = redis.Redis.from_url(server.url)

    async def scene(direct):
        worker = await world.worker()
        ticket = direct.submit(job())
        (lost,) = await off_loop(worker.take)
        api_s = [each for each in client.client_list() if each["cmd"] == "subscribe"]
        mine = worker.source._transports[0]._published.connection._get_socket().getsockname()
        for each in api_s:
            if (each["addr"] == f"{mine[0]}:{mine[1]}") == (side == "worker"):
                client.client_kill(each["addr"])
        await until(lambda: ticket.link is None)
        while ticket.link is None:
            await off_loop(connect_again, worker)
        (again,) = await off_loop(worker.take)
        assert (again.job, again.fence) == (lost.job, 2)
        await off_loop(worker.answer, again)
        assert await ticket.within(3)

    world.run(scene)
    client.close()


def test_jobs_survive_the_loss_of_all_data(world, server):
    client = redis.Redis.from_url(server.url)

    async def scene(direct):
        worker, ticket = await world.worker(), direct.submit(job())
        leases = await off_loop(worker.take)
        client.flushall()
        await off_loop(worker.answer, *leases)
        assert await ticket.within(3)
        assert ticket.attempt == 1

    world.run(scene)
    client.close()


def test_a_worker_that_has_ended_is_noticed_before_its_lease_ends(world, monkeypatch):
    monkeypatch.setattr("tests.delivery.conftest.LEASE_S", 60)

    async def scene(direct):
        gone, ticket = await world.worker("gone"), direct.submit(job())
        assert await off_loop(gone.take)
        gone.source._transports[0]._unsubscribe()  # as the end of a process does
        assert await until(lambda: ticket.link is None) < 3 * PROBE_S
        gone.source._transports[0]._subscribe = lambda: False
        kept = await world.worker("kept")
        leases = await off_loop(kept.take)
        await off_loop(kept.answer, *leases)
        assert await ticket.within(3)

    world.run(scene)


def test_a_job_that_was_sent_to_a_worker_that_has_ended_goes_to_another_at_once(world):
    async def scene(direct):
        gone, kept = await world.worker("gone", silent=True), await world.worker("kept")
        gone.source._transports[0]._unsubscribe()
        tickets = [direct.submit(job()) for _ in range(4)]
        await until(lambda: len(direct._links) == 1, PROBE_S)
        for _ in range(3):  # those that were sent to the other one come alone
            await off_loop(kept.answer, *await off_loop(kept.take))
        for ticket in tickets:
            assert await ticket.within(1)

    world.run(scene)


def test_two_apis_and_two_workers_know_each_other_in_whatever_order_they_start(world):
    async def scene(direct):
        first = await world.worker("first")
        async with another_api(world) as second_api:
            second = await world.worker("second")
            for worker in (first, second):
                await off_loop(connect_again, worker)
            await until(lambda: len(direct._links) == len(second_api._links) == 2)
            tickets = [api.submit(job()) for api in (direct, second_api) for _ in range(2)]
            while not all(ticket.outcome for ticket in tickets):
                for worker in (first, second):
                    await off_loop(worker.answer, *await off_loop(worker.take, 10, 0.1))
        # The second API has ended: the worker notices it with its next frame.
        await until(lambda: len(direct._links) == 2)
        await off_loop(first.source.connect)
        for worker in (first, second):
            await asyncio.sleep(LEASE_S)
            await off_loop(connect_again, worker)
            assert len(worker.source._apis) == 1

    world.run(scene)


def test_the_job_of_an_api_that_has_ended_is_stopped(world):
    async def scene(direct):
        worker = await world.worker()
        async with another_api(world) as ending:
            while not ending.serves(DIGEST):
                await off_loop(worker.source.poll, 0.05)
            ending.submit(job())
            (lease,) = await off_loop(worker.take)
            assert await off_loop(worker.source.report, [lease], 0.5) == [True]
        end = time.monotonic() + 2
        while await off_loop(worker.source.report, [lease], 0.6) != [False]:
            assert time.monotonic() < end
            await off_loop(worker.source.connect)
        assert direct.serves(DIGEST)
        await off_loop(worker.answer, lease)

    world.run(scene)


def test_a_worker_of_this_machine_is_connected_once_and_not_through_redis(world):
    async def scene(direct):
        transports: list[Transport] = [UnixApis(world.state), RedisApis(str(world.redis_url))]
        source = DirectSource(transports, "w", CREDITS)
        source.announce([DIGEST])
        for _ in range(10):
            await off_loop(source.connect)
            await off_loop(source.poll, 0.05)
        assert len(direct._links) == 1
        assert [len(transport.apis) for transport in transports] == [1, 0]
        source.close()

    world.run(scene)
