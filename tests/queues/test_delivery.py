"""Both queues, the worker's side: which jobs a worker gets, and in which order."""

import contextlib

from tests.queues.conftest import DIGEST, job, off_loop, one, run, take
from whyserve.jobs import HEAVY_S
from whyserve.queue_protocols import JobQueue


def submit(world, *jobs):
    async def scene(queue: JobQueue) -> None:
        for each in jobs:
            await queue.submit(each)

    run(world, scene)


def test_heavy_jobs_and_jobs_of_lost_workers_do_not_run_beside_others(world):
    lost, worker = world.worker("lost"), world.worker()
    submit(world, returned := job())
    one(lost)
    with contextlib.closing(world.admin()) as admin:
        admin.release("lost")
    jobs = [job(work=HEAVY_S + 1), job(), job(work=HEAVY_S + 1)]
    submit(world, *jobs)
    assert [lease.job.id for lease in take(worker, 5, 0, beside=True)] == [jobs[1].id]
    assert take(worker, 5, 0, beside=True) == []
    assert {one(worker).job.id for _ in range(3)} == {returned.id, jobs[0].id, jobs[2].id}


def test_callers_get_the_same_counted_work(world):
    """One caller has six jobs of two seconds, a later one six of one second: it gets two jobs for each of the first."""
    worker = world.worker()
    submit(world, *(job(caller="ann", work=2.0) for _ in range(6)))
    assert one(worker).job.caller == "ann"
    submit(world, *(job(caller="bob", work=1.0) for _ in range(6)))
    order = [one(worker).job.caller for _ in range(9)]
    assert order[:2].count("bob") >= 1
    assert abs(order.count("bob") - 6) <= 1, order
    assert "ann" in order[:3]
    # Who had all the time while nobody else wanted it does not have to wait for it later.
    assert [one(worker).job.caller for _ in range(2)] == ["ann"] * 2
    submit(world, job(caller="eve", work=1.0), job(caller="bob", work=1.0))
    assert {one(worker).job.caller for _ in range(2)} == {"bob", "eve"}


def test_callers_with_one_job_each_are_served_in_the_order_of_their_jobs(world):
    worker = world.worker()
    jobs = [job(caller=f"c{number}", method=("deep", "exact")[number % 2]) for number in range(12)]
    submit(world, *jobs)
    assert [one(worker).job.id for _ in jobs] == [each.id for each in jobs]


def test_jobs_come_oldest_first_with_one_batch_key_at_a_time(world):
    worker = world.worker(digests=(DIGEST, "e" * 64))
    jobs = [job(), job(method="deep"), job(), job(digest="e" * 64), job()]
    submit(world, *jobs)
    batches = [[lease.job.id for lease in take(worker, 2, 1)] for _ in range(4)]
    assert batches == [[jobs[0].id, jobs[2].id], [jobs[1].id], [jobs[3].id], [jobs[4].id]]


def test_the_order_of_a_caller_holds_over_all_batch_keys(world):
    worker = world.worker()
    jobs = [job(method=("deep", "exact", "gradient")[number * number % 3]) for number in range(60)]
    submit(world, *jobs)
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
