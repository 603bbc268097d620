"""Both queues with many jobs."""

import asyncio
import threading

from tests.queues.conftest import final, job, run, take
from whyserve.jobs import JobStatus
from whyserve.queue_protocols import JobQueue, JobSource


def test_under_load_no_job_is_lost_and_no_result_recorded_twice(world):
    """Three workers over 200 jobs; one of them drops every third job."""
    stop = threading.Event()
    recorded: list[str] = []
    asked: list[str] = []

    def serve(source: JobSource, drops: bool) -> None:
        turn = 0
        while not stop.is_set():
            for lease in take(source, 4, 0.1):
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
