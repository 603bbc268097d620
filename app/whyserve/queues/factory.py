"""Opens the queue that the settings name: Redis if WHYSERVE_REDIS_URL is set, else the embedded queue."""

from collections.abc import Iterator
from contextlib import contextmanager

from whyserve.delivery.apis import Transport
from whyserve.delivery.unix_apis import UnixApis
from whyserve.errors import ConfigurationError
from whyserve.queue_protocols import JobQueue, JobSource, QueueAdmin
from whyserve.queues.embedded_queue import EmbeddedQueue
from whyserve.queues.embedded_source import EmbeddedSource
from whyserve.queues.store import Store
from whyserve.queues.terms import Terms
from whyserve.settings import Settings

# redis-py is imported only if it is used: the embedded queue then starts faster.


def open_queue(settings: Settings) -> JobQueue:
    """The API's side. Raises ConfigurationError."""
    if settings.redis_url is None:
        return EmbeddedQueue(_store(settings))
    from whyserve.queues.redis_queue import RedisQueue  # noqa: PLC0415

    return RedisQueue(*_checked_redis(settings))


def open_source(settings: Settings, owner: str) -> JobSource:
    """The worker's side. Raises ConfigurationError."""
    if settings.redis_url is None:
        return EmbeddedSource(_store(settings), owner)
    from whyserve.queues.redis_source import RedisSource  # noqa: PLC0415

    return RedisSource(*_checked_redis(settings), owner)


def open_transports(settings: Settings) -> list[Transport]:
    """The worker's side of direct delivery. Call it after `open_source`, which checks the settings."""
    transports: list[Transport] = [UnixApis(settings.state)]
    if settings.redis_url is not None:
        from whyserve.delivery.redis_apis import RedisApis  # noqa: PLC0415

        transports.append(RedisApis(settings.redis_url))
    return transports


def open_admin(settings: Settings) -> QueueAdmin:
    """The supervisor's side. Raises ConfigurationError."""
    if settings.redis_url is None:
        return _store(settings)
    from whyserve.queues.redis_source import RedisAdmin  # noqa: PLC0415

    with _valid_url():
        return RedisAdmin(settings.redis_url)


def _store(settings: Settings) -> Store:
    return Store(settings.state, Terms.of(settings))


def _checked_redis(settings: Settings) -> tuple[str, Terms]:
    from whyserve.queues.redis_check import check_redis  # noqa: PLC0415

    assert settings.redis_url is not None
    with _valid_url():
        check_redis(settings.redis_url, settings.redis_wait_s)
    return settings.redis_url, Terms.of(settings)


@contextmanager
def _valid_url() -> Iterator[None]:
    try:
        yield
    except ValueError:
        # No part of the URL and of redis-py's message: both may hold the password.
        raise ConfigurationError("WHYSERVE_REDIS_URL: must be a redis://, rediss:// or unix:// address") from None
