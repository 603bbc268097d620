"""What API and worker may rely on, whichever queue is between them."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.queues.conftest import DIGEST, LEASE_S, World, job
from whyserve.errors import IdempotencyKeyReused, QueueFull, UnknownExplanation
from whyserve.jobs import MAX_DELIVERIES, JobMetrics, JobQueue, JobSource, JobState, JobStatus, job_error, new_id
from whyserve.queues.waiters import LOOK_AGAIN_S

FAULT = job_error("explanation_failed", "no luck")


def run(world: World, scene: Callable[[JobQueue], Awaitable[Any]], **terms: float) -> Any:
    @asynccontextmanager
    async def opened() -> AsyncIterator[JobQueue]:
        queue = world.queue(**terms)
        try:
            yield queue
        finally:
            await queue.close()

    async def main() -> Any:
        async with opened() as queue:
            return await asyncio.wait_for(scene(queue), 30)

    return asyncio.run(main())


async def off_loop(function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(function, *arguments)


def one(source: JobSource, timeout_s: float = 2.0) -> Any:
    (lease,) = source.take(1, timeout_s)
    return lease


def test_a_job_goes_through_with_all_that_it_says(world):
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
        state = await queue.wait(given.id, 5)
        assert state == JobState(given.id, JobStatus.done, 1.0, b'{"x":1}', caller="ann", standard_error=0.125)
        assert await queue.job(given.id) == given
        with pytest.raises(UnknownExplanation):
            await queue.job(new_id())
        assert await queue.depth() == 0
        # One recorded result: neither a second nor an error goes over it.
        assert not worker.finish(lease, b"{}")
        assert not worker.fail(lease, FAULT)
        assert await queue.state(given.id) == state

    run(world, scene)


def test_what_results_took_is_given_once_whoever_asks(world):
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


def test_a_stale_result_s_figures_are_not_given(world):
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


def test_a_failure_is_told(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> JobState:
        await queue.submit(given := job())
        lease = await off_loop(one, worker)
        assert worker.fail(lease, FAULT)
        return await queue.wait(given.id, 5)

    state = run(world, scene)
    assert (state.status, state.error, state.result) == (JobStatus.failed, FAULT, None)


def test_waiting_ends_with_the_result_and_with_the_time(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        await queue.submit(given := job())
        began = time.monotonic()
        assert (await queue.wait(given.id, 0.15)).status is JobStatus.queued
        assert 0.1 < time.monotonic() - began < 1
        lease = await off_loop(one, worker)
        waits = [asyncio.create_task(queue.wait(given.id, 10)) for _ in range(3)]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await off_loop(worker.finish, lease, b"{}")
        assert {(await wait).status for wait in waits} == {JobStatus.done}
        assert time.monotonic() - began < 0.5  # woken, and not found at the next look
        with pytest.raises(UnknownExplanation):
            await queue.wait(new_id(), 1)

    run(world, scene)


def test_a_waiting_worker_is_woken(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> float:
        taking = asyncio.create_task(off_loop(one, worker, 10))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await queue.submit(job())
        await taking
        return time.monotonic() - began

    assert run(world, scene) < 0.5


def test_nothing_to_take_is_said_after_the_time(world):
    worker = world.worker()
    began = time.monotonic()
    assert worker.take(5, 0.2) == []
    assert 0.15 < time.monotonic() - began < 1.5


def test_who_makes_a_summary_takes_no_other(world):
    worker = world.worker()
    jobs = [job(summary=True), job(), job(summary=True, method="deep")]

    async def scene(queue: JobQueue) -> None:
        for each in jobs:
            await queue.submit(each)

    run(world, scene)
    assert [lease.job.id for lease in worker.take(5, 0, summaries=False)] == [jobs[1].id]
    assert worker.take(5, 0, summaries=False) == []
    assert {lease.job.id for _ in range(2) for lease in worker.take(5, 0)} == {jobs[0].id, jobs[2].id}


def test_oldest_first_and_only_one_batch_key_together(world):
    worker = world.worker(digests=(DIGEST, "e" * 64))
    jobs = [job(), job(method="deep"), job(), job(digest="e" * 64), job()]

    async def scene(queue: JobQueue) -> None:
        for each in jobs:
            await queue.submit(each)

    run(world, scene)
    batches = [[lease.job.id for lease in worker.take(2, 1)] for _ in range(4)]
    assert batches == [[jobs[0].id, jobs[2].id], [jobs[1].id], [jobs[3].id], [jobs[4].id]]


def test_many_at_once_in_several_lanes_keep_their_order(world):
    worker = world.worker()
    jobs = [job(method=("deep", "exact", "gradient")[number * number % 3]) for number in range(60)]

    async def scene(queue: JobQueue) -> None:
        for each in jobs:
            await queue.submit(each)

    run(world, scene)
    assert [one(worker).job.id for _ in jobs] == [each.id for each in jobs]


def test_a_worker_is_given_what_it_can_explain(world):
    other = world.worker("other", digests=("f" * 64,))

    async def scene(queue: JobQueue) -> None:
        await queue.submit(given := job())
        assert await off_loop(other.take, 1, 0.1) == []
        worker = world.worker("able")
        assert {record.owner: record.digests for record in await queue.workers()} == {
            "other": {"f" * 64}, "able": {DIGEST},
        }  # fmt: skip
        assert (await off_loop(one, worker)).job.id == given.id

    run(world, scene)


def test_a_worker_that_is_silent_is_no_longer_counted(world):
    world.worker("silent")
    kept = world.worker("kept")

    async def scene(queue: JobQueue) -> None:
        for _ in range(12):
            await asyncio.sleep(LEASE_S / 4)
            kept.renew()
        assert [record.owner for record in await queue.workers()] == ["kept"]

    run(world, scene)


def test_a_full_queue_refuses_and_loses_nothing(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        accepted = [await queue.submit(job()) for _ in range(3)]
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(QueueFull) as full:
                await queue.submit(job())
            assert time.monotonic() - began < 0.05
            assert full.value.details["retry_after_s"] > 0
        leases = await off_loop(worker.take, 10, 1)
        assert [lease.job.id for lease in leases] == accepted
        with pytest.raises(QueueFull):  # what is in hand counts too
            await queue.submit(job())
        worker.finish(leases[0], b"{}")
        await queue.submit(job())

    run(world, scene, depth=3)


def test_cancelled_before_it_is_taken(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        await queue.submit(first := job())
        await queue.submit(second := job())
        assert (await queue.cancel(first.id)).status is JobStatus.cancelled
        assert [lease.job.id for lease in await off_loop(worker.take, 5, 1)] == [second.id]
        assert await queue.depth() == 1
        with pytest.raises(UnknownExplanation):
            await queue.cancel(new_id())

    run(world, scene)


def test_cancelled_while_it_runs(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        await queue.submit(given := job())
        lease = await off_loop(one, worker)
        waiting = asyncio.create_task(queue.wait(given.id, 10))
        assert (await queue.cancel(given.id)).status is JobStatus.cancelled
        assert (await waiting).status is JobStatus.cancelled
        assert worker.report([lease], 0.9) == [False]
        assert not worker.finish(lease, b"{}")
        assert (await queue.state(given.id)).status is JobStatus.cancelled

    run(world, scene)


def test_cancelling_what_is_done_leaves_it(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        await queue.submit(given := job())
        worker.finish(await off_loop(one, worker), b"{}")
        assert (await queue.cancel(given.id)).status is JobStatus.done

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
        stale.renew()  # cannot take back what is another's
        assert not stale.finish(lost, b'"stale"')
        assert not stale.fail(lost, FAULT)
        assert fresh.finish(again, b'"fresh"')
        assert (await queue.wait(given.id, 1)).result == b'"fresh"'

    run(world, scene)


def test_one_worker_that_comes_back_to_its_own_job_is_fenced_too(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        await queue.submit(job())
        old = await off_loop(one, worker)
        new = await off_loop(one, worker, 5)
        assert not worker.finish(old, b"{}")
        assert worker.finish(new, b"{}")

    run(world, scene)


def test_a_lease_that_is_kept_alive_stays(world):
    worker, other = world.worker("w1"), world.worker("w2")

    async def scene(queue: JobQueue) -> None:
        await queue.submit(job())
        lease = await off_loop(one, worker)
        for _ in range(8):
            await asyncio.sleep(LEASE_S / 4)
            worker.renew()
            assert other.take(1, 0) == []
        assert worker.finish(lease, b"{}")

    run(world, scene)


def test_a_job_that_costs_three_workers_fails_and_its_neighbours_are_answered(world):
    admin = world.admin()

    async def scene(queue: JobQueue) -> None:
        poison = await queue.submit(job())
        others = [await queue.submit(job()) for _ in range(4)]
        answered = []
        for attempt in range(20):
            worker = world.worker(f"w{attempt}")
            dead = False
            while not dead and (leases := await off_loop(worker.take, 16, 0.05)):
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


def test_the_steward_hands_back_at_once_and_keeps_the_rest(world):
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


def test_a_worker_that_stops_hands_back_what_it_holds(world):
    leaving, staying = world.source("leaving"), world.worker("staying", lease_s=60)
    leaving.announce([DIGEST])

    async def scene(queue: JobQueue) -> None:
        await queue.submit(given := job())
        assert await off_loop(leaving.take, 1, 1)
        await off_loop(leaving.close)
        assert (await queue.state(given.id)).status is JobStatus.queued
        assert (await off_loop(one, staying)).job == given

    run(world, scene)


def test_the_same_key_is_the_same_job(world):
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
        # The same job submitted twice, as a retried call does, is one job too.
        assert await queue.depth() == 0

    run(world, scene)


def test_what_nobody_took_by_its_deadline_has_failed(world):
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        await queue.submit(late := job(deadline=time.time() + 0.2))
        await queue.submit(free := job(deadline=time.time() + 60))
        state = await queue.wait(late.id, 5)
        assert state.status is JobStatus.failed
        assert state.error is not None
        assert state.error.code == "explanation_timeout"
        assert await queue.depth() == 1
        assert (await off_loop(one, worker)).job == free

    run(world, scene)


def test_a_result_is_kept_for_its_time_only(world):
    worker = world.worker(keep_s=1)

    async def scene(queue: JobQueue) -> None:
        await queue.submit(given := job(idempotency_key="k"))
        worker.finish(await off_loop(one, worker), b"{}")
        assert (await queue.state(given.id)).status is JobStatus.done
        await asyncio.sleep(1.6)
        await queue.submit(job(idempotency_key="k"))  # a new one: the old is forgotten
        with pytest.raises(UnknownExplanation):
            await queue.state(given.id)
        assert await queue.depth() == 1

    run(world, scene, keep_s=1)


def test_many_callers_and_workers_lose_and_double_nothing(world):
    """Three workers, one of which is silent again and again, over 200 jobs."""
    stop = threading.Event()
    recorded: list[str] = []
    asked: list[str] = []

    def serve(source: JobSource, drops: bool) -> None:
        turn = 0
        while not stop.is_set():
            for lease in source.take(4, 0.1):
                turn += 1
                # A second delivery is done: a job dropped three times would have failed, rightly.
                if (not drops or turn % 3 or lease.fence > 1) and source.finish(lease, lease.job.id.encode()):
                    recorded.append(lease.job.id)

    threads = [threading.Thread(target=serve, args=(world.worker(f"w{n}"), n == 0)) for n in range(3)]
    for thread in threads:
        thread.start()

    async def scene(queue: JobQueue) -> None:
        async def ask() -> None:
            given = await queue.submit(job(method=("auto", "deep")[len(asked) % 2]))
            asked.append(given)
            state = await queue.wait(given, 20)
            assert (state.status, state.result) == (JobStatus.done, given.encode())

        await asyncio.gather(*[ask() for _ in range(200)])
        assert await queue.depth() == 0

    try:
        run(world, scene, depth=1000)
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    # A worker hears that its result was recorded after whoever waits for it may have seen it.
    assert sorted(recorded) == sorted(asked)


def test_an_empty_job_goes_round_by_being_told_of_and_not_looked_for(world):
    """The median of 200, one after another, is far below the time after which anybody looks again.

    What it is by the clock depends on the disk and on whatever else the machine does: `make bench-queue` measures it.
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
            assert (await queue.wait(given.id, 10)).status is JobStatus.done
            times.append(time.perf_counter() - began)
        return sorted(times)[len(times) // 2]

    try:
        median_s = min(run(world, scene, lease_s=30) for _ in range(2))
    finally:
        stop.set()
        thread.join(10)
    assert median_s <= LOOK_AGAIN_S / 20
