"""Opens the queue that the settings name: Redis if WHYSERVE_REDIS_URL is set, else the embedded queue."""

from whyserve.errors import ConfigurationError
from whyserve.queue_protocols import JobQueue, JobSource, QueueAdmin
from whyserve.queues.embedded_queue import EmbeddedQueue
from whyserve.queues.embedded_source import EmbeddedSource
from whyserve.queues.queue_file import open_store
from whyserve.queues.terms import Terms
from whyserve.settings import Settings

# redis-py is imported only if it is used: the embedded queue then starts faster.


def open_queue(settings: Settings) -> JobQueue:
    """The API's side. Raises ConfigurationError."""
    if settings.redis_url is None:
        return EmbeddedQueue(settings.state, open_store(settings.state, Terms.of(settings)))
    from whyserve.queues.redis_check import check_redis  # noqa: PLC0415
    from whyserve.queues.redis_queue import RedisQueue  # noqa: PLC0415

    try:
        check_redis(settings.redis_url, settings.redis_wait_s)
        return RedisQueue(settings.redis_url, Terms.of(settings))
    except ValueError as error:
        raise _invalid_url(error) from error


def open_source(settings: Settings, owner: str) -> JobSource:
    """The worker's side. Raises ConfigurationError."""
    if settings.redis_url is None:
        return EmbeddedSource(settings.state, open_store(settings.state, Terms.of(settings)), owner)
    from whyserve.queues.redis_check import check_redis  # noqa: PLC0415
    from whyserve.queues.redis_source import RedisSource  # noqa: PLC0415

    try:
        check_redis(settings.redis_url, settings.redis_wait_s)
        return RedisSource(settings.redis_url, Terms.of(settings), owner)
    except ValueError as error:
        raise _invalid_url(error) from error


def open_admin(settings: Settings) -> QueueAdmin:
    """The supervisor's side. Raises ConfigurationError."""
    if settings.redis_url is None:
        return open_store(settings.state, Terms.of(settings))
    from whyserve.queues.redis_source import RedisAdmin  # noqa: PLC0415

    try:
        return RedisAdmin(settings.redis_url)
    except ValueError as error:
        raise _invalid_url(error) from error


def _invalid_url(error: ValueError) -> ConfigurationError:
    # No part of the URL and of redis-py's message: both may hold the password.
    return ConfigurationError("WHYSERVE_REDIS_URL: must be a redis://, rediss:// or unix:// address")
