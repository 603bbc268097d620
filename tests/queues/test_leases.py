"""Both queues: leases, and the jobs of workers that stop, end or are silent."""

import asyncio
import time

import pytest

from tests.queues.conftest import DIGEST, FAULT, LEASE_S, final, job, off_loop, one, run, take
from whyserve.jobs import JobStatus
from whyserve.queue_protocols import MAX_DELIVERIES, JobQueue


def test_a_silent_worker_is_not_counted(world):
    world.worker("silent")
    kept = world.worker("kept")

    async def scene(queue: JobQueue) -> None:
        for _ in range(12):
            await asyncio.sleep(LEASE_S / 4)
            kept.renew()
        assert [record.owner for record in await queue.workers()] == ["kept"]

    run(world, scene)


def test_a_silent_workers_job_goes_to_another_and_its_late_result_is_refused(world):
    stale, fresh = world.worker("stale"), world.worker("fresh")

    async def scene(queue: JobQueue) -> None:
        await queue.submit(given := job())
        lost = await off_loop(one, stale)
        began = time.monotonic()
        again = await off_loop(one, fresh, 5)
        assert 0.5 * LEASE_S < time.monotonic() - began < LEASE_S + 1.5
        assert again.job == given
        assert again.fence > lost.fence
        assert stale.report([lost], 0.9) == [False]
        stale.renew()  # does not renew the lease of another worker
        assert not stale.finish(lost, b'"stale"')
        assert not stale.fail(lost, FAULT)
        assert fresh.finish(again, b'"fresh"')
        assert (await final(queue, given.id, 1)).result == b'"fresh"'

    run(world, scene)


def test_a_worker_that_gets_its_own_job_again_is_fenced_too(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        await queue.submit(job())
        old = await off_loop(one, worker)
        new = await off_loop(one, worker, 5)
        assert not worker.finish(old, b"{}")
        assert worker.finish(new, b"{}")

    run(world, scene)


def test_a_renewed_lease_does_not_end(world):
    worker, other = world.worker("w1"), world.worker("w2")

    async def scene(queue: JobQueue) -> None:
        await queue.submit(job())
        lease = await off_loop(one, worker)
        for _ in range(8):
            await asyncio.sleep(LEASE_S / 4)
            worker.renew()
            assert take(other, 1, 0) == []
        assert worker.finish(lease, b"{}")

    run(world, scene)


def test_a_job_that_ends_three_workers_fails_and_other_jobs_are_answered(world):
    admin = world.admin()

    async def scene(queue: JobQueue) -> None:
        poison = await queue.submit(job())
        others = [await queue.submit(job()) for _ in range(4)]
        answered = []
        for attempt in range(20):
            worker = world.worker(f"w{attempt}")
            dead = False
            while not dead and (leases := await off_loop(take, worker, 16, 0.05)):
                if dead := any(lease.job.id == poison for lease in leases):
                    break
                for lease in leases:
                    assert worker.finish(lease, b"{}")
                    answered.append(lease.job.id)
            if not dead:
                break
            admin.release(f"w{attempt}")
        assert attempt == MAX_DELIVERIES
        state = await queue.state(poison)
        assert state.status is JobStatus.failed
        assert state.error is not None
        assert state.error.code == "worker_lost"
        assert sorted(answered) == sorted(others)
        assert await queue.depth() == 0

    run(world, scene)
    admin.close()


def test_the_supervisor_releases_a_dead_workers_jobs_and_no_others(world):
    admin = world.admin()
    dead, alive = world.worker("dead", lease_s=60), world.worker("alive", lease_s=60)

    async def scene(queue: JobQueue) -> None:
        await queue.submit(job())
        await queue.submit(kept := job())
        lost = await off_loop(one, dead)
        held = await off_loop(one, alive)
        assert held.job == kept
        taking = asyncio.create_task(off_loop(one, alive, 10))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await off_loop(admin.release, "dead")
        assert (await taking).job == lost.job
        assert time.monotonic() - began < 1.5
        assert [record.owner for record in admin.workers()] == ["alive"]
        assert alive.finish(held, b"{}")

    run(world, scene)
    admin.close()


def test_a_worker_that_stops_returns_its_jobs(world):
    leaving, staying = world.source("leaving"), world.worker("staying", lease_s=60)
    leaving.announce([DIGEST])

    async def scene(queue: JobQueue) -> None:
        await queue.submit(given := job())
        assert await off_loop(take, leaving, 1, 1)
        await off_loop(leaving.close)
        assert (await queue.state(given.id)).status is JobStatus.queued
        assert (await off_loop(one, staying)).job == given

    run(world, scene)


def test_an_adopted_job_runs_under_the_lease_of_its_adopter(world):
    """A job that is computed already enters the queue without waiting, also past older jobs."""
    adopter, worker = world.worker("api", ()), world.worker("w1")

    async def scene(queue: JobQueue) -> None:
        await queue.submit(older := job())
        lease = await off_loop(adopter.adopt, given := job(caller="ann"))
        assert (lease.job, lease.fence) == (given, 1)
        state = await queue.state(given.id)
        assert (state.status, state.caller) == (JobStatus.running, "ann")
        assert await queue.depth() == 2
        assert [each.job.id for each in await off_loop(take, worker, 10, 1)] == [older.id]
        assert adopter.report([lease], 0.5) == [True]
        assert (await queue.state(given.id)).progress == 0.5
        assert await off_loop(adopter.finish, lease, b"{}")
        assert (await final(queue, given.id, 5)).status is JobStatus.done

    run(world, scene)


@pytest.mark.parametrize("ending", ["lost", "closed"])
def test_a_worker_computes_an_adopted_job_again_if_its_adopter_ends(world, ending):
    adopter, worker = world.source("api"), world.worker("w1")

    async def scene(queue: JobQueue) -> None:
        lease = await off_loop(adopter.adopt, given := job())
        if ending == "closed":
            await off_loop(adopter.close)
        again = await off_loop(one, worker, 5)
        assert (again.job, again.fence) == (given, 2)
        if ending == "lost":
            assert not await off_loop(adopter.finish, lease, b"{}")
            await off_loop(adopter.close)
        assert await off_loop(worker.finish, again, b"{}")

    run(world, scene)
