"""Both queues: the bound on the bytes of their requests and results."""

import asyncio
import contextlib
import itertools
import sqlite3
from contextlib import closing

import numpy as np
import pytest
import redis

from tests.queues.conftest import FAULT, embedded_world, job, off_loop, one, redis_world, run
from tests.queues.redis_server import RedisServer
from whyserve.errors import AnswerTooLarge, QueueFull, UnknownExplanation
from whyserve.jobs import JobStatus
from whyserve.model.arrays import PackedArray
from whyserve.queue_protocols import JobQueue, JobSource
from whyserve.queues.queue_file import QUEUE_FILE

MIB = 1 << 20
BOUND = 8 * MIB


def pictured(size: int = 0, **more):
    """A job whose request has about `size` bytes of base64."""
    return job(rows={"x": PackedArray.pack(np.zeros((1, size * 3 // 4), np.uint8))}, **more)


async def finished(queue: JobQueue, worker: JobSource, size: int, **more) -> str:
    """A job with a result of `size` bytes."""
    given = await queue.submit(job(answer_bytes=size, **more))
    assert worker.finish(await off_loop(one, worker), b"7" * size)
    return given


async def kept(queue: JobQueue, ids: list[str]) -> list[str]:
    """The jobs that have their whole result."""
    found = []
    for each in ids:
        try:
            state = await queue.state(each)
        except UnknownExplanation:
            continue
        assert state.result is not None
        found.append(each)
    return found


async def fill(queue: JobQueue, ids: list[str]) -> None:
    while True:
        ids.append(await queue.submit(pictured(MIB, answer_bytes=MIB)))


def test_the_oldest_results_make_room_for_new_ones(world):
    worker = world.worker(keep_bytes=BOUND)

    async def scene(queue: JobQueue) -> None:
        ids = [await finished(queue, worker, MIB) for _ in range(20)]
        there = await kept(queue, ids)
        assert there == ids[-len(there) :]
        assert 5 <= len(there) <= 8
        with pytest.raises(UnknownExplanation):
            await queue.job(ids[0])

    run(world, scene, keep_bytes=BOUND)


def test_an_idempotency_key_is_free_again_when_its_result_was_dropped(world):
    worker = world.worker(keep_bytes=BOUND)

    async def scene(queue: JobQueue) -> None:
        keyed = {"idempotency_key": "k", "request_hash": "q"}
        first = await finished(queue, worker, MIB, **keyed)
        assert await queue.submit(job(**keyed)) == first
        for _ in range(10):
            await finished(queue, worker, MIB)
        new = job(**keyed)
        assert await queue.submit(new) == new.id

    run(world, scene, keep_bytes=BOUND)


def test_open_jobs_are_never_dropped_and_their_answers_have_room(world):
    worker = world.worker(keep_bytes=BOUND)

    async def scene(queue: JobQueue) -> None:
        old = await finished(queue, worker, MIB)
        ids: list[str] = []
        with pytest.raises(QueueFull, match="8 MiB"):
            await fill(queue, ids)
        assert 2 <= len(ids) <= 4
        for _ in ids:
            assert worker.finish(await off_loop(one, worker), b"7" * MIB)
        assert await kept(queue, ids) == ids
        # Final jobs make room again.
        assert await queue.submit(pictured(MIB, answer_bytes=MIB))
        assert await kept(queue, [old]) == []

    run(world, scene, keep_bytes=BOUND)


def test_a_refused_job_drops_no_results(world):
    worker = world.worker(keep_bytes=BOUND)

    async def scene(queue: JobQueue) -> None:
        ids = [await finished(queue, worker, MIB // 2) for _ in range(4)]
        await queue.submit(job(answer_bytes=5 * MIB))
        with pytest.raises(QueueFull):
            await queue.submit(job(answer_bytes=5 * MIB))
        with pytest.raises(AnswerTooLarge):
            await queue.submit(job(answer_bytes=BOUND))
        assert await kept(queue, ids) == ids

    run(world, scene, keep_bytes=BOUND)


def test_an_answer_that_is_larger_than_expected_fails_for_good_if_there_is_no_room(world):
    worker = world.worker(keep_bytes=BOUND)

    async def scene(queue: JobQueue) -> None:
        await queue.submit(given := job(answer_bytes=10))
        lease = await off_loop(one, worker)
        with pytest.raises(AnswerTooLarge):
            worker.finish(lease, b"7" * BOUND)
        assert (await queue.state(given.id)).status is JobStatus.running
        assert worker.finish(lease, b"7" * MIB)  # larger than expected, and there is room
        assert (await queue.state(given.id)).result == b"7" * MIB

    run(world, scene, keep_bytes=BOUND)


def test_expired_results_leave_the_queue_without_a_new_job(world):
    worker = world.worker(keep_s=1, keep_bytes=BOUND)

    async def scene(queue: JobQueue) -> None:
        given = await finished(queue, worker, MIB)
        await asyncio.sleep(1.2)
        worker.renew()
        with pytest.raises(UnknownExplanation):
            await queue.state(given)

    run(world, scene, keep_s=1, keep_bytes=BOUND)


def test_the_file_gives_its_space_back(tmp_path):
    world = embedded_world(tmp_path)
    worker = world.worker(keep_s=1, keep_bytes=64 * MIB)

    def size() -> int:
        return sum(path.stat().st_size for path in tmp_path.glob(f"{QUEUE_FILE}*"))

    async def scene(queue: JobQueue) -> None:
        for _ in range(20):
            await finished(queue, worker, 2 * MIB)
        assert size() > 20 * MIB  # on a slow disk, the first results have expired already
        await asyncio.sleep(1.2)
        for _ in range(8):
            worker.renew()
        assert size() < 14 * MIB  # the spare pages and the -wal file

    run(world, scene, keep_s=1, keep_bytes=64 * MIB)
    worker.close()


def test_a_file_of_many_large_jobs_stays_within_its_bound(tmp_path):
    """Each request and each result is in the file once."""
    world = embedded_world(tmp_path)
    worker = world.worker(keep_bytes=BOUND)

    async def scene(queue: JobQueue) -> None:
        largest = 0
        for _ in range(12):
            await queue.submit(pictured(MIB, answer_bytes=2 * MIB))
            assert worker.finish(await off_loop(one, worker), b"7" * (2 * MIB))
            largest = max(largest, sum(path.stat().st_size for path in tmp_path.glob(QUEUE_FILE)))
        assert largest < BOUND + 6 * MIB  # the spare pages

    run(world, scene, keep_bytes=BOUND)
    worker.close()
    with closing(sqlite3.connect(tmp_path / QUEUE_FILE)) as db:
        parts = db.execute("SELECT count(*), count(DISTINCT job || part) FROM contents").fetchone()
        assert parts[0] == parts[1] == 2 * db.execute("SELECT count(*) FROM jobs").fetchone()[0]


@pytest.fixture
def small_redis(tmp_path):
    server = RedisServer(tmp_path, "--maxmemory", "24mb", "--maxmemory-policy", "noeviction")
    yield server
    server.stop()


def test_a_small_redis_holds_half_of_its_memory_and_goes_on(small_redis):
    world = redis_world(small_redis.url, "whyserve:small:")
    worker = world.worker(keep_bytes=256 * MIB)

    async def scene(queue: JobQueue) -> None:
        with pytest.raises(AnswerTooLarge, match="12 MiB"):
            await queue.submit(job(answer_bytes=13 * MIB))
        ids = [await finished(queue, worker, 3 * MIB) for _ in range(12)]
        there = await kept(queue, ids)
        assert there == ids[-3:]
        await queue.submit(given := job())
        lease = await off_loop(one, worker)
        with pytest.raises(AnswerTooLarge):
            worker.finish(lease, b"7" * (13 * MIB))
        assert worker.fail(lease, FAULT)
        assert (await queue.state(given.id)).status is JobStatus.failed

    run(world, scene, keep_bytes=256 * MIB)
    worker.close()


def test_a_redis_that_others_have_filled_drops_old_results_first(small_redis):
    world = redis_world(small_redis.url, "whyserve:small:")
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        ids = [await finished(queue, worker, 3 * MIB) for _ in range(3)]
        with redis.Redis.from_url(small_redis.url) as other:
            for size in (MIB, 10_000, 100):
                with contextlib.suppress(redis.exceptions.OutOfMemoryError):
                    for number in itertools.count():
                        other.set(f"other:{size}:{number}", b"7" * size)
            # Its connection stays open: Redis frees the connection's buffers with it.
            new = await finished(queue, worker, 1000)
        assert await kept(queue, [*ids, new]) == [ids[-1], new]

    run(world, scene)
    worker.close()
