"""Both queues with many jobs."""

import asyncio
import threading
import time

from tests.queues.conftest import final, job, run
from whyserve.jobs import JobStatus
from whyserve.queue_protocols import JobQueue, JobSource
from whyserve.queues.wakeup import LOOK_AGAIN_S


def test_under_load_no_job_is_lost_and_no_result_recorded_twice(world):
    """Three workers over 200 jobs; one of them drops every third job."""
    stop = threading.Event()
    recorded: list[str] = []
    asked: list[str] = []

    def serve(source: JobSource, drops: bool) -> None:
        turn = 0
        while not stop.is_set():
            for lease in source.take(4, 0.1):
                turn += 1
                # Second deliveries are computed: a job dropped three times would fail.
                if (not drops or turn % 3 or lease.fence > 1) and source.finish(lease, lease.job.id.encode()):
                    recorded.append(lease.job.id)

    threads = [threading.Thread(target=serve, args=(world.worker(f"w{n}"), n == 0)) for n in range(3)]
    for thread in threads:
        thread.start()

    async def scene(queue: JobQueue) -> None:
        async def ask() -> None:
            given = await queue.submit(job(method=("auto", "deep")[len(asked) % 2]))
            asked.append(given)
            state = await final(queue, given, 20)
            assert (state.status, state.result) == (JobStatus.done, given.encode())

        await asyncio.gather(*[ask() for _ in range(200)])
        assert await queue.depth() == 0

    try:
        run(world, scene, depth=1000)
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    # Compared after the threads have ended: a caller may see a result before its worker has noted it.
    assert sorted(recorded) == sorted(asked)


def test_a_job_is_delivered_by_wakeups_and_not_by_polling(world):
    """The median round trip of 200 jobs is far below LOOK_AGAIN_S, the interval of polling.

    Absolute times depend on the disk and on the machine's other work; `make bench-queue` measures them.
    """
    worker = world.worker(lease_s=30)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            for lease in worker.take(16, 0.2):
                worker.finish(lease, b"{}")

    thread = threading.Thread(target=serve)
    thread.start()

    async def scene(queue: JobQueue) -> float:
        times = []
        for _ in range(200):
            began = time.perf_counter()
            await queue.submit(given := job())
            assert (await final(queue, given.id, 10)).status is JobStatus.done
            times.append(time.perf_counter() - began)
        return sorted(times)[len(times) // 2]

    try:
        median_s = min(run(world, scene, lease_s=30) for _ in range(2))
    finally:
        stop.set()
        thread.join(10)
    assert median_s <= LOOK_AGAIN_S / 20
