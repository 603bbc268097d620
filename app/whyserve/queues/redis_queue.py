"""The queue of many machines, the API's side: Redis Streams, by one script a transaction."""

import asyncio
import contextlib
import math
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.exceptions import RedisError

from whyserve.errors import IdempotencyKeyReused, QueueFull, UnknownExplanation
from whyserve.jobs import ExplainJob, JobError, JobMetrics, JobState, JobStatus, WorkerRecord
from whyserve.queues.redis_script import PREFIX, SCRIPT, Terms, as_unavailable, connection
from whyserve.queues.waiters import LOOK_AGAIN_S, Waiters

CONNECTIONS = 16
POOL_S = 2.0
RECONNECT_S = 0.2


class RedisQueue:
    """A JobQueue. It connects when it is first used, and again whenever that is needed."""

    def __init__(self, url: str, terms: Terms, prefix: str = PREFIX) -> None:
        """Raises ValueError where the URL is none."""
        self._terms, self._prefix = terms, prefix
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url, max_connections=CONNECTIONS, timeout=POOL_S, **connection(Retry)
        )
        self._redis = redis.asyncio.Redis.from_pool(pool)
        self._script = self._redis.register_script(SCRIPT)
        self._waiters = Waiters()
        self._listener: asyncio.Task[None] | None = None

    async def _call(self, name: str, *arguments: Any) -> Any:
        with as_unavailable():
            return await self._script(keys=[self._prefix], args=[name, *arguments])

    async def submit(self, job: ExplainJob) -> str:
        deadline = "+inf" if job.deadline is None or math.isinf(job.deadline) else job.deadline
        kind, told = await self._call(
            "submit", job.id, job.batch_key, job.model_dump_json(), deadline,
            job.idempotency_key or "", job.request_hash or "",
            job.caller or "", self._terms.depth, *self._terms.expiry,
        )  # fmt: skip
        if kind == b"full":
            raise QueueFull(f"{told.decode()} explanations are waiting already; try again later", retry_after_s=1)
        if kind == b"reused":
            raise IdempotencyKeyReused("this Idempotency-Key came with another request before; take a new one")
        return str(told.decode())

    async def wait(self, job_id: str, timeout_s: float) -> JobState:
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._listen(), name="queue")
        return await self._waiters.wait(job_id, self.state, timeout_s)

    async def _listen(self) -> None:
        """Wake who waits for what is published. What is missed meanwhile, they find when they look again."""
        while True:
            with contextlib.suppress(RedisError, OSError):
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(f"{self._prefix}final")
                    while True:
                        if message := await channel.get_message(timeout=LOOK_AGAIN_S):
                            self._waiters.wake(message["data"].decode())
            await asyncio.sleep(RECONNECT_S)

    async def state(self, job_id: str) -> JobState:
        status, progress, result, error, caller, deviation = await self._call("state", job_id, *self._terms.expiry)
        if status is None:
            raise UnknownExplanation("no explanation has this id, or its result is no longer kept")
        fault = JobError.model_validate_json(error) if error else None
        return JobState(
            job_id, JobStatus(status.decode()), float(progress), result, fault, caller.decode() if caller else None,
            float(deviation) if deviation else None,
        )  # fmt: skip

    async def job(self, job_id: str) -> ExplainJob:
        body = await self._call("body", job_id)
        if body is None:
            raise UnknownExplanation("no explanation has this id, or its result is no longer kept")
        return ExplainJob.model_validate_json(body)

    async def cancel(self, job_id: str) -> JobState:
        await self._call("cancel", job_id, self._terms.keep)
        return await self.state(job_id)

    async def depth(self) -> int:
        return int(await self._call("depth", *self._terms.expiry))

    async def workers(self) -> list[WorkerRecord]:
        found = iter(await self._call("workers"))
        return [
            WorkerRecord(owner.decode(), frozenset(digests.decode().split()))
            for owner, digests in zip(found, found, strict=True)
        ]

    async def job_metrics(self) -> list[JobMetrics]:
        return [JobMetrics.model_validate_json(body) for body in await self._call("job_metrics")]

    async def close(self) -> None:
        # redis-py loses a cancellation that comes while it connects; so it is said until it is heard.
        while self._listener and not self._listener.done():
            self._listener.cancel()
            await asyncio.wait([self._listener], timeout=0.1)
        await self._redis.aclose()
