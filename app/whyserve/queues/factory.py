"""Opens the queue that the settings name: Redis if WHYSERVE_REDIS_URL is set, else the embedded queue."""

from whyserve.delivery.apis import Transport
from whyserve.delivery.unix_apis import UnixApis
from whyserve.errors import ConfigurationError
from whyserve.queue_protocols import JobQueue, JobSource, JobStore
from whyserve.queues.store import Store
from whyserve.queues.terms import Terms
from whyserve.settings import Settings


def open_queue(settings: Settings) -> JobQueue:
    """The API's side. Raises ConfigurationError."""
    return JobQueue(open_store(settings, checked=True))


def open_source(settings: Settings, owner: str) -> JobSource:
    """The worker's side. Raises ConfigurationError."""
    return JobSource(open_store(settings, checked=True), owner)


def open_store(settings: Settings, *, checked: bool = False) -> JobStore:
    """What holds the jobs. Raises ConfigurationError.

    checked: try now whether Redis can be used. A supervisor does not wait for it.
    """
    if settings.redis_url is None:
        return Store(settings.state, Terms.of(settings))
    # redis-py is imported only if it is used: the embedded queue then starts faster.
    from whyserve.queues.redis_check import check_redis  # noqa: PLC0415
    from whyserve.queues.redis_store import RedisStore  # noqa: PLC0415

    try:
        if checked:
            check_redis(settings.redis_url, settings.redis_wait_s)
        return RedisStore(settings.redis_url, Terms.of(settings))
    except ValueError:
        # No part of the URL and of redis-py's message: both may hold the password.
        raise ConfigurationError("WHYSERVE_REDIS_URL: must be a redis://, rediss:// or unix:// address") from None


def open_transports(settings: Settings) -> list[Transport]:
    """The worker's side of direct delivery. Call it after `open_source`, which checks the settings."""
    transports: list[Transport] = [UnixApis(settings.state)]
    if settings.redis_url is not None:
        from whyserve.delivery.redis_apis import RedisApis  # noqa: PLC0415

        transports.append(RedisApis(settings.redis_url))
    return transports
