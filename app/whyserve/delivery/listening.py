"""Where workers reach an API: at its Unix socket and, with Redis, on its channel."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from whyserve.delivery.dispatcher import BEATS_PER_LEASE, Dispatcher
from whyserve.delivery.unix_server import UnixServer
from whyserve.jobs import new_id
from whyserve.settings import Settings


@asynccontextmanager
async def listening(dispatcher: Dispatcher, settings: Settings) -> AsyncIterator[None]:
    """Accept workers for the dispatcher. Raises OSError if the socket cannot be made and there is no Redis."""
    name = new_id()
    async with AsyncExitStack() as open_:
        unix = UnixServer(dispatcher)
        open_.callback(unix.close)
        # With Redis, no worker needs to be on this machine, and the folder may be read-only.
        with contextlib.suppress(*([OSError] if settings.redis_url else [])):
            await unix.start(settings.state, name)
        if settings.redis_url:
            from whyserve.delivery.redis_server import RedisServer  # noqa: PLC0415  # not without Redis

            server = RedisServer(dispatcher, settings.redis_url, name)
            server.start()
            open_.push_async_callback(server.close)
        checking = asyncio.create_task(_check(dispatcher, settings.lease_s / BEATS_PER_LEASE))
        open_.callback(checking.cancel)
        yield


async def _check(dispatcher: Dispatcher, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        dispatcher.check()
