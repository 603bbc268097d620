"""The Redis queue, the API's side: each transaction is one run of a Lua script."""

from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry

from whyserve.delivery.redis_stream import connection
from whyserve.jobs import ExplainJob, JobError, JobMetrics, JobState, JobStatus, WorkerRecord
from whyserve.queues.redis_script import (
    PREFIX,
    SCRIPT,
    as_unavailable,
    check_accepted,
    submission,
    worker_records,
)
from whyserve.queues.refusals import unknown_explanation
from whyserve.queues.terms import Terms

CONNECTIONS = 16
POOL_S = 2.0


class RedisQueue:
    """A JobQueue. It connects at its first use, and again after a lost connection."""

    def __init__(self, url: str, terms: Terms, prefix: str = PREFIX) -> None:
        """Raises ValueError if the URL is invalid."""
        self._terms, self._prefix = terms, prefix
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url, max_connections=CONNECTIONS, timeout=POOL_S, **connection(Retry)
        )
        self._redis = redis.asyncio.Redis.from_pool(pool)
        self._script = self._redis.register_script(SCRIPT)

    async def _call(self, name: str, *arguments: Any) -> Any:
        with as_unavailable():
            return await self._script(keys=[self._prefix], args=[name, *arguments])

    async def submit(self, job: ExplainJob) -> str:
        return check_accepted(await self._call("submit", *submission(job, self._terms)))

    async def state(self, job_id: str) -> JobState:
        status, progress, result, error, caller, standard_error = await self._call("state", job_id, *self._terms.expiry)
        if status is None:
            raise unknown_explanation()
        why = JobError.model_validate_json(error) if error else None
        return JobState(
            job_id, JobStatus(status.decode()), float(progress), result, why, caller.decode() if caller else None,
            float(standard_error) if standard_error else None,
        )  # fmt: skip

    async def job(self, job_id: str) -> ExplainJob:
        body = await self._call("body", job_id)
        if body is None:
            raise unknown_explanation()
        return ExplainJob.model_validate_json(body)

    async def cancel(self, job_id: str) -> JobState:
        await self._call("cancel", job_id, self._terms.keep)
        return await self.state(job_id)

    async def depth(self) -> int:
        return int(await self._call("depth", *self._terms.expiry))

    async def workers(self) -> list[WorkerRecord]:
        return worker_records(await self._call("workers"))

    async def job_metrics(self) -> list[JobMetrics]:
        return [JobMetrics.model_validate_json(body) for body in await self._call("job_metrics")]

    async def close(self) -> None:
        await self._redis.aclose()
