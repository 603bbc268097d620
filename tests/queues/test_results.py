"""Both queues, the API's side: submitted jobs, their states and results."""

import asyncio
import time

import pytest

from tests.queues.conftest import FAULT, final, job, off_loop, one, run, take
from whyserve.errors import IdempotencyKeyReused, QueueFull, UnknownExplanation
from whyserve.jobs import JobMetrics, JobState, JobStatus, new_id
from whyserve.queue_protocols import JobQueue


def test_a_job_and_its_result_arrive_unchanged(world):
    worker = world.worker()
    given = job(caller="ann", deadline=time.time() + 60, samples=3, seed=2**62, request_id="r")

    async def scene(queue: JobQueue) -> None:
        assert await queue.submit(given) == given.id
        assert await queue.depth() == 1
        assert await queue.job(given.id) == given
        assert await queue.state(given.id) == JobState(given.id, JobStatus.queued, caller="ann")
        lease = await off_loop(one, worker)
        assert lease.job == given
        assert worker.report([lease], 0.5) == [True]
        assert await queue.state(given.id) == JobState(given.id, JobStatus.running, 0.5, caller="ann")
        assert worker.report([lease], 0.75, 0.125) == [True]
        known = JobState(given.id, JobStatus.running, 0.75, caller="ann", standard_error=0.125)
        assert await queue.state(given.id) == known
        assert worker.finish(lease, b'{"x":1}')
        state = await final(queue, given.id, 5)
        assert state == JobState(given.id, JobStatus.done, 1.0, b'{"x":1}', caller="ann", standard_error=0.125)
        assert await queue.job(given.id) == given
        with pytest.raises(UnknownExplanation):
            await queue.job(new_id())
        assert await queue.depth() == 0
        # A recorded result is not replaced by a second result or an error.
        assert not worker.finish(lease, b"{}")
        assert not worker.fail(lease, FAULT)
        assert await queue.state(given.id) == state

    run(world, scene)


def test_metrics_of_a_result_are_returned_once_to_one_api(world):
    worker = world.worker()
    took = [JobMetrics(model="wine", method="exact", seconds=0.5 * n, residual=1e-7 * n) for n in (1, 2, 3)]

    async def scene(queue: JobQueue) -> None:
        other = world.queue()
        assert await queue.job_metrics() == []
        for each in took[:2]:
            await queue.submit(job())
            lease = await off_loop(one, worker)
            assert worker.finish(lease, b"{}", each)
            assert not worker.finish(lease, b"{}", each)
        first, second = await asyncio.gather(queue.job_metrics(), other.job_metrics())
        assert first + second == took[:2]
        await queue.submit(job())
        assert worker.finish(await off_loop(one, worker), b"{}", took[2])
        assert await other.job_metrics() == took[2:]
        assert await queue.job_metrics() == []
        await other.close()

    run(world, scene)


def test_metrics_of_a_refused_result_are_not_counted(world):
    stale, fresh = world.worker("stale"), world.worker("fresh")
    took = JobMetrics(model="wine", method="exact", seconds=1)

    async def scene(queue: JobQueue) -> None:
        await queue.submit(job())
        lost = await off_loop(one, stale)
        again = await off_loop(one, fresh, 5)
        assert not stale.finish(lost, b"{}", took)
        assert fresh.finish(again, b"{}", took)
        assert await queue.job_metrics() == [took]

    run(world, scene)


def test_a_failed_job_has_its_error(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> JobState:
        await queue.submit(given := job())
        lease = await off_loop(one, worker)
        assert worker.fail(lease, FAULT)
        return await final(queue, given.id, 5)

    state = run(world, scene)
    assert (state.status, state.error, state.result) == (JobStatus.failed, FAULT, None)


def test_a_full_queue_refuses_jobs_and_keeps_the_accepted_ones(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        accepted = [await queue.submit(job()) for _ in range(3)]
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(QueueFull) as full:
                await queue.submit(job())
            assert time.monotonic() - began < 0.05
            assert full.value.details["retry_after_s"] > 0
        leases = await off_loop(take, worker, 10, 1)
        assert [lease.job.id for lease in leases] == accepted
        with pytest.raises(QueueFull):  # running jobs count too
            await queue.submit(job())
        worker.finish(leases[0], b"{}")
        await queue.submit(job())

    run(world, scene, depth=3)


def test_a_queued_job_is_cancelled(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        await queue.submit(first := job())
        await queue.submit(second := job())
        assert (await queue.cancel(first.id)).status is JobStatus.cancelled
        assert [lease.job.id for lease in await off_loop(take, worker, 5, 1)] == [second.id]
        assert await queue.depth() == 1
        with pytest.raises(UnknownExplanation):
            await queue.cancel(new_id())

    run(world, scene)


def test_a_running_job_is_cancelled(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        await queue.submit(given := job())
        lease = await off_loop(one, worker)
        waiting = asyncio.create_task(final(queue, given.id, 10))
        assert (await queue.cancel(given.id)).status is JobStatus.cancelled
        assert (await waiting).status is JobStatus.cancelled
        assert worker.report([lease], 0.9) == [False]
        assert not worker.finish(lease, b"{}")
        assert (await queue.state(given.id)).status is JobStatus.cancelled

    run(world, scene)


def test_cancelling_a_finished_job_changes_nothing(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        await queue.submit(given := job())
        worker.finish(await off_loop(one, worker), b"{}")
        assert (await queue.cancel(given.id)).status is JobStatus.done

    run(world, scene)


def test_an_idempotency_key_names_one_job(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        first = job(idempotency_key="k", request_hash="q")
        assert await queue.submit(first) == first.id
        assert await queue.submit(job(idempotency_key="k", request_hash="q")) == first.id
        with pytest.raises(IdempotencyKeyReused):
            await queue.submit(job(idempotency_key="k", request_hash="other"))
        assert await queue.depth() == 1
        worker.finish(await off_loop(one, worker), b"{}")
        assert await queue.submit(job(idempotency_key="k", request_hash="q")) == first.id
        assert (await queue.state(first.id)).status is JobStatus.done
        # The repeated submission added no job.
        assert await queue.depth() == 0

    run(world, scene)


def test_a_queued_job_fails_at_its_deadline(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        await queue.submit(late := job(deadline=time.time() + 0.2))
        await queue.submit(free := job(deadline=time.time() + 60))
        state = await final(queue, late.id, 5)
        assert state.status is JobStatus.failed
        assert state.error is not None
        assert state.error.code == "explanation_timeout"
        assert await queue.depth() == 1
        assert (await off_loop(one, worker)).job == free

    run(world, scene)


def test_a_result_expires(world):
    worker = world.worker(keep_s=1)

    async def scene(queue: JobQueue) -> None:
        await queue.submit(given := job(idempotency_key="k"))
        worker.finish(await off_loop(one, worker), b"{}")
        assert (await queue.state(given.id)).status is JobStatus.done
        await asyncio.sleep(1.6)
        await queue.submit(job(idempotency_key="k"))  # accepted as new, because the first job has expired
        with pytest.raises(UnknownExplanation):
            await queue.state(given.id)
        assert await queue.depth() == 1

    run(world, scene, keep_s=1)
