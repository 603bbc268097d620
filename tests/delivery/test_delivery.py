"""Jobs that go directly from an API to its workers."""

import asyncio
import time
from typing import Any

import pytest

from tests.delivery.conftest import CREDITS, LEASE_S
from tests.queues.conftest import DIGEST, FAULT, job
from whyserve.delivery import direct_source, unix_apis
from whyserve.delivery.frames import VERSION, Reply
from whyserve.errors import QueueFull
from whyserve.jobs import HEAVY_S, JobResult
from whyserve.queue_protocols import MAX_DELIVERIES, TIMED_OUT, WORKER_LOST

off_loop = asyncio.to_thread


def answered(ticket: Any) -> str:
    assert isinstance(ticket.outcome, Reply), ticket.outcome
    assert (ticket.outcome.result.method, ticket.outcome.seconds) == ("exact", 0.25)
    return str(ticket.outcome.result.json.decode())


def test_jobs_that_arrived_together_are_taken_together(world):
    async def scene(direct):
        worker = await world.worker()
        given = [job(method="deep"), job(method="exact"), job(method="deep", caller="ann")]
        tickets = [direct.submit(each) for each in given]
        first = await off_loop(worker.take)
        assert [lease.job for lease in first] == [given[0], given[2]]
        second = await off_loop(worker.take)
        assert [lease.job for lease in second] == [given[1]]
        assert len(direct) == 3
        await off_loop(worker.answer, *first)
        assert worker.source.fail(second[0], FAULT)
        worker.source.flush()
        for ticket in tickets:
            assert await ticket.within(3)
        assert answered(tickets[2]) == f'{{"id":"{given[2].id}","explanations":[1]}}'
        assert tickets[1].outcome == FAULT
        assert 0 < tickets[0].seconds < 3
        assert len(direct) == 0

    world.run(scene)


def test_a_worker_gets_no_more_jobs_than_it_has_credits_for(world):
    async def scene(direct):
        tickets = [direct.submit(job()) for _ in range(CREDITS + 3)]
        worker = await world.worker()
        first = await off_loop(worker.take)
        assert [lease.job for lease in first] == [ticket.job for ticket in tickets[:CREDITS]]
        assert await off_loop(worker.take, 10, 0.2) == []
        await off_loop(worker.answer, *first[:2])
        assert [lease.job for lease in await off_loop(worker.take)] == [ticket.job for ticket in tickets[CREDITS:][:2]]

    world.run(scene)


def test_no_caller_and_no_heavy_job_takes_all_credits(world):
    async def scene(direct):
        worker = await world.worker()
        for _ in range(2 * CREDITS):
            direct.submit(job(caller="ann"))
        late = [direct.submit(job(caller=name, **more)) for name, more in (
            ("bob", {"seed": 1}), ("eve", {"seed": 2}), ("ann", {"work": HEAVY_S + 1}), ("bob", {"seed": 1}),
        )]  # fmt: skip
        await asyncio.sleep(0.05)
        worker.source.poll(0)
        assert {lease.job.id for lease in worker.source.waiting[CREDITS:]} == {ticket.job.id for ticket in late[:3]}
        # When credits are free again, the caller with the fewest jobs at the worker comes first.
        await off_loop(worker.answer, *await off_loop(worker.take))
        await off_loop(worker.answer, *await off_loop(worker.take))
        await asyncio.sleep(0.05)
        assert late[3].link is not None
        assert len(direct._waiting) <= 1

    world.run(scene)


def test_jobs_of_a_busy_worker_that_are_not_started_go_to_an_idle_worker(world):
    async def scene(direct):
        busy = await world.worker("busy")
        tickets = [direct.submit(job(seed=number)) for number in range(4)]
        (running,) = await off_loop(busy.take, 1)
        idle = await world.worker("idle")
        assert await off_loop(busy.source.report, [running], 0.1) == [True]
        await asyncio.sleep(0.05)
        direct.cancel(tickets[3])  # while the worker returns it
        busy.source.poll(0)
        moved = await off_loop(idle.take)
        assert [lease.job for lease in moved] == [tickets[2].job]
        # It was not started, so it is computed like a new job.
        assert moved[0].fence == 1
        assert [lease.job for lease in busy.source.waiting] == [tickets[1].job]
        # A worker that has a job is not idle.
        assert await off_loop(busy.source.report, [running], 0.2) == [True]
        await asyncio.sleep(0.05)
        busy.source.poll(0)
        assert [lease.job for lease in busy.source.waiting] == [tickets[1].job]
        await off_loop(idle.answer, *moved)
        await off_loop(busy.answer, running)
        for ticket in (tickets[0], tickets[2]):
            assert await ticket.within(3)
            answered(ticket)
        await asyncio.sleep(0.05)
        assert [len(link.held) for link in direct._links] == [1, 0]

    world.run(scene)


def test_idle_workers_get_jobs_first_and_only_those_of_their_manifests(world):
    async def scene(direct):
        one, two = await world.worker("w1"), await world.worker("w2", (DIGEST, "e" * 64))
        given = [job(), job(), job(digest="e" * 64), job(digest="f" * 64)]
        tickets = [direct.submit(each) for each in given]
        assert len(await off_loop(one.take)) == 1
        assert {lease.job.digest for lease in await off_loop(two.take)} <= {DIGEST, "e" * 64}
        assert tickets[3].link is None
        assert not direct.serves("f" * 64)
        await off_loop(one.source.announce, [DIGEST, "f" * 64])
        assert [lease.job for lease in await off_loop(one.take)] == [given[3]]

    world.run(scene)


def test_the_jobs_of_a_lost_worker_go_to_others_one_by_one(world):
    async def scene(direct):
        lost, tickets = await world.worker("lost"), [direct.submit(job()) for _ in range(3)]
        assert len(await off_loop(lost.take)) == 3
        lost.close()
        await asyncio.sleep(0.05)
        kept = await world.worker("kept")
        fresh = direct.submit(job())
        for expected in (*tickets, fresh):
            leases = await off_loop(kept.take)
            assert [lease.job for lease in leases] == [expected.job]
            assert leases[0].fence == (1 if expected is fresh else 2)
            await off_loop(kept.answer, *leases)
            assert await expected.within(3)
            answered(expected)

    world.run(scene)


def test_a_job_that_ends_its_workers_fails_and_takes_no_other_job_with_it(world):
    """After the first loss, only an attempt that had begun counts."""

    async def scene(direct):
        async def lose(worker):
            await asyncio.sleep(0.05)
            worker.close()
            await asyncio.sleep(0.05)

        poison, other = direct.submit(job()), direct.submit(job())
        first = await world.worker("w1")
        assert len(await off_loop(first.take)) == 2
        await lose(first)
        second = await world.worker("w2")
        assert [lease.job for lease in await off_loop(second.take)] == [poison.job]
        await lose(second)
        for number in range(MAX_DELIVERIES):  # these end with other jobs
            worker = await world.worker(f"x{number}")
            assert other.link is not None or poison.link is not None
            await lose(worker)
        last = await world.worker("last")
        taken = {}
        while other.outcome is None:
            (lease,) = await off_loop(last.take)
            taken[lease.job.id] = lease
            if lease.job == poison.job:
                await lose(last)
                last = await world.worker("very last")
            else:
                await off_loop(last.answer, lease)
                await other.within(3)
        if poison.outcome is None:
            assert [lease.job for lease in await off_loop(last.take)] == [poison.job]
            await lose(last)
        assert poison.outcome == WORKER_LOST
        answered(other)

    world.run(scene)


def test_a_silent_worker_is_given_up_and_its_late_answer_is_dropped(world):
    async def scene(direct):
        silent, ticket = await world.worker("silent", silent=True), direct.submit(job())
        late = await off_loop(silent.take)
        kept = await world.worker("kept")
        began = time.monotonic()
        again = await off_loop(kept.take, 10, 5)
        assert [lease.job for lease in again] == [ticket.job]
        assert time.monotonic() - began < 3 * LEASE_S
        await off_loop(silent.answer, *late)
        assert not await ticket.within(0.1)
        await off_loop(kept.answer, *again)
        assert await ticket.within(3)
        # A worker that beats stays, however long it computes.
        busy = direct.submit(job())
        leases = await off_loop(kept.take)
        await asyncio.sleep(3 * LEASE_S)
        await off_loop(kept.answer, *leases)
        assert await busy.within(3)
        assert busy.attempt == 1

    world.run(scene)


def test_cancelled_jobs_are_not_started_or_stop_and_free_their_credits(world):
    async def scene(direct):
        worker = await world.worker()
        running, arrived, waiting = direct.submit(job()), direct.submit(job(seed=1)), None
        (lease,) = await off_loop(worker.take, 1)
        assert await off_loop(worker.source.report, [lease], 0.5, 0.125) == [True]
        await asyncio.sleep(0.05)
        assert (running.progress, running.standard_error) == (0.5, 0.125)
        rest = [direct.submit(job()) for _ in range(CREDITS)]
        waiting = rest[-1]
        assert waiting.link is None
        for ticket in (running, arrived, waiting):
            direct.cancel(ticket)
        await asyncio.sleep(0.05)
        assert await off_loop(worker.source.report, [lease], 0.6) == [False]
        await off_loop(worker.answer, lease)
        await asyncio.sleep(0.05)
        assert [each.job for each in await off_loop(worker.take)] == [ticket.job for ticket in rest[:-1]]
        assert running.outcome is None
        assert len(direct) == CREDITS - 1

    world.run(scene)


def test_a_lost_worker_s_job_past_its_deadline_is_not_tried_again(world):
    async def scene(direct):
        worker, ticket = await world.worker(), direct.submit(job(deadline=time.time() + 0.2))
        await off_loop(worker.take)
        await asyncio.sleep(0.2)
        worker.close()
        await asyncio.sleep(0.05)
        await world.worker("w2")
        assert await ticket.within(3)
        assert ticket.outcome == TIMED_OUT

    world.run(scene)


def test_workers_are_told_of_a_new_job_in_the_queue(world):
    async def scene(direct):
        workers = [await world.worker("w1"), await world.worker("w2")]
        for worker in workers:
            await off_loop(worker.source.poll, 0.05)
            assert not worker.source.queue_has_news
        direct.ring()
        for worker in workers:
            end = time.monotonic() + 3
            while not worker.source.queue_has_news:
                assert time.monotonic() < end
                await off_loop(worker.source.poll, 0.05)
            began = time.monotonic()
            await off_loop(worker.source.poll, 3)  # nothing is waited for until the queue was looked at
            assert time.monotonic() - began < 1

    world.run(scene)


def test_more_jobs_than_the_depth_are_refused(world):
    async def scene(direct):
        tickets = [direct.submit(job()) for _ in range(3)]
        with pytest.raises(QueueFull) as full:
            direct.submit(job())
        assert full.value.details["retry_after_s"] > 0
        direct.cancel(tickets[0])
        direct.submit(job())

    world.run(scene, depth=3)


def test_a_worker_of_another_version_is_refused(world, monkeypatch, caplog):
    async def scene(direct):
        monkeypatch.setattr(direct_source, "VERSION", VERSION + 1)
        await world.worker()
        assert not direct.serves(DIGEST)
        assert "a worker of another version" in caplog.text

    world.run(scene)


@pytest.mark.parametrize("world", ["unix"], indirect=True)
def test_an_api_that_does_not_read_is_given_up(world, monkeypatch):
    """A frame that was sent in part must not be followed by another one."""
    monkeypatch.setattr(unix_apis, "SEND_S", 0.2)
    result = JobResult(b"{}", [bytes(1 << 20)] * 8, "exact")

    async def scene(direct):
        worker, ticket = await world.worker(silent=True), direct.submit(job())
        await asyncio.sleep(0.05)
        (lease,) = worker.take(1)
        worker.source.finish(lease, Reply(result, 0.25))
        worker.source.flush()  # on the loop of the API, which therefore does not read
        monkeypatch.undo()
        await asyncio.sleep(0.1)
        assert ticket.link is None
        assert ticket.outcome is None
        worker.source.poll(0)  # the end of the connection
        worker.source.connect()
        (again,) = await off_loop(worker.take)
        assert again.fence == 2
        await off_loop(worker.answer, again)
        assert await ticket.within(3)
        answered(ticket)

    world.run(scene)
