"""The Redis queue alone: what a search for jobs costs, and the loss of all data."""

import redis

from tests.queues.conftest import LEASE_S, job, one, redis_world, run, take
from whyserve.jobs import JobStatus, new_id
from whyserve.queue_protocols import JobQueue

MANY, FEW, SEARCHES = 3000, 3, 50


def test_a_search_costs_the_same_for_many_backgrounds(redis_server):
    """Microseconds of Redis per search, measured by Redis."""
    world = redis_world(redis_server.url, f"whyserve:{new_id()}:")
    client = redis.Redis.from_url(redis_server.url)
    workers = [world.worker("w1", lease_s=60), world.worker("other", digests=("e" * 64,), lease_s=60)]

    def cost() -> float:
        client.config_resetstat()
        for _ in range(SEARCHES):
            assert take(workers[1], 1, 0) == []
            one(workers[0], 0)
        return float(client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"])

    async def scene(queue: JobQueue) -> None:
        costs = []
        for count in (FEW, MANY):
            for number in range(SEARCHES + count):
                await queue.submit(job(background=f"b{number % count}"))
            costs.append(cost())
        print(f"{costs[0]:.0f} and {costs[1]:.0f} µs of Redis per search")
        assert costs[1] < 3 * costs[0]

    run(world, scene, depth=2 * MANY, lease_s=60)
    for worker in workers:
        worker.close()
    client.close()


def test_workers_register_again_after_redis_has_lost_its_data(redis_server):
    world = redis_world(redis_server.url, f"whyserve:{new_id()}:")
    client = redis.Redis.from_url(redis_server.url)
    renewing, taking = world.worker("renewing", lease_s=60), world.worker("taking", lease_s=60)

    async def scene(queue: JobQueue) -> None:
        known = await queue.workers()
        assert len(known) == 2
        await queue.submit(job())
        lost = one(taking)
        client.flushall()
        assert await queue.workers() == []
        renewing.renew()
        assert take(taking, 1, 0) == []
        assert sorted(await queue.workers(), key=str) == sorted(known, key=str)
        assert not taking.finish(lost, b"{}")
        await queue.submit(given := job())
        assert taking.finish(one(taking), b"{}")
        assert (await queue.state(given.id)).status is JobStatus.done

    run(world, scene)
    for worker in (renewing, taking):
        worker.close()
    client.close()


def test_keys_of_finished_jobs_and_of_ended_workers_expire(redis_server):
    prefix = f"whyserve:{new_id()}:"
    world = redis_world(redis_server.url, prefix)
    client = redis.Redis.from_url(redis_server.url)
    worker = world.worker()

    async def scene(queue: JobQueue) -> None:
        for number in range(3):
            await queue.submit(job(background=f"b{number}", idempotency_key=f"k{number}", request_hash="r"))
            lease = one(worker)
            assert worker.finish(lease, b"{}")
        await queue.submit(job())
        one(worker)
        worker.renew()

    run(world, scene)
    left = {key.decode().removeprefix(prefix) for key in client.scan_iter(f"{prefix}*") if client.ttl(key) == -1}
    assert {key.partition(":")[0] for key in left} == {"turns", "bytes", "kept", "open", "leases", "alive", "job"}
    assert sum(key.startswith("job:") for key in left) == 1
    assert 0 < client.pttl(f"{prefix}digests:w1") <= 2000 * LEASE_S
    worker.close()
    client.close()
