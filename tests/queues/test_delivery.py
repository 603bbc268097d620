"""Both queues, the worker's side: which jobs a worker gets, and in which order."""

from tests.queues.conftest import DIGEST, job, off_loop, one, run, take
from whyserve.queue_protocols import JobQueue


def test_summaries_can_be_left_out_of_take(world):
    worker = world.worker()
    jobs = [job(summary=True), job(), job(summary=True, method="deep")]

    async def scene(queue: JobQueue) -> None:
        for each in jobs:
            await queue.submit(each)

    run(world, scene)
    assert [lease.job.id for lease in take(worker, 5, 0, summaries=False)] == [jobs[1].id]
    assert take(worker, 5, 0, summaries=False) == []
    assert {lease.job.id for _ in range(2) for lease in take(worker, 5, 0)} == {jobs[0].id, jobs[2].id}


def test_jobs_come_oldest_first_with_one_batch_key_at_a_time(world):
    worker = world.worker(digests=(DIGEST, "e" * 64))
    jobs = [job(), job(method="deep"), job(), job(digest="e" * 64), job()]

    async def scene(queue: JobQueue) -> None:
        for each in jobs:
            await queue.submit(each)

    run(world, scene)
    batches = [[lease.job.id for lease in take(worker, 2, 1)] for _ in range(4)]
    assert batches == [[jobs[0].id, jobs[2].id], [jobs[1].id], [jobs[3].id], [jobs[4].id]]


def test_the_order_holds_over_all_batch_keys(world):
    worker = world.worker()
    jobs = [job(method=("deep", "exact", "gradient")[number * number % 3]) for number in range(60)]

    async def scene(queue: JobQueue) -> None:
        for each in jobs:
            await queue.submit(each)

    run(world, scene)
    assert [one(worker).job.id for _ in jobs] == [each.id for each in jobs]


def test_a_worker_gets_jobs_of_its_manifests_only(world):
    other = world.worker("other", digests=("f" * 64,))

    async def scene(queue: JobQueue) -> None:
        await queue.submit(given := job())
        assert await off_loop(take, other, 1, 0.1) == []
        worker = world.worker("able")
        assert {record.owner: record.digests for record in await queue.workers()} == {
            "other": {"f" * 64}, "able": {DIGEST},
        }  # fmt: skip
        assert (await off_loop(one, worker)).job.id == given.id

    run(world, scene)
