"""Opens the queue that the settings name: Redis if WHYSERVE_REDIS_URL is set, else the embedded queue."""

from typing import TYPE_CHECKING

from whyserve.delivery.apis import Transport
from whyserve.delivery.unix_apis import UnixApis
from whyserve.errors import ConfigurationError
from whyserve.queue_protocols import JobQueue, JobSource, QueueAdmin
from whyserve.queues.queue import StoreQueue
from whyserve.queues.source import StoreSource
from whyserve.queues.store import Store
from whyserve.queues.terms import Terms
from whyserve.settings import Settings

if TYPE_CHECKING:
    from whyserve.queues.redis_store import RedisStore


def open_queue(settings: Settings) -> JobQueue:
    """The API's side. Raises ConfigurationError."""
    return StoreQueue(_store(settings))


def open_source(settings: Settings, owner: str) -> JobSource:
    """The worker's side. Raises ConfigurationError."""
    return StoreSource(_store(settings), owner)


def open_admin(settings: Settings) -> QueueAdmin:
    """The supervisor's side. Raises ConfigurationError."""
    return _store(settings, checked=False)


def open_transports(settings: Settings) -> list[Transport]:
    """The worker's side of direct delivery. Call it after `open_source`, which checks the settings."""
    transports: list[Transport] = [UnixApis(settings.state)]
    if settings.redis_url is not None:
        from whyserve.delivery.redis_apis import RedisApis  # noqa: PLC0415

        transports.append(RedisApis(settings.redis_url))
    return transports


def _store(settings: Settings, *, checked: bool = True) -> "Store | RedisStore":
    """checked: whether Redis is tried now. A supervisor does not wait for it."""
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
