"""The API's channel in Redis, through which the workers of all machines connect."""

import asyncio
import contextlib

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.exceptions import RedisError

from whyserve.delivery.dispatcher import Dispatcher, WorkerLink
from whyserve.delivery.redis_stream import APIS, CLOSED, PREFIX, WORKERS, Message, Stream, connection, is_name

RECONNECT_S = 0.2
# How often a worker that has jobs is looked for. Redis knows at once that a worker's process has ended.
PROBE_S = 0.5


class RedisServer:
    """Accepts workers for a dispatcher. It connects to Redis by itself, and again after a lost connection."""

    def __init__(self, dispatcher: Dispatcher, url: str, name: str, prefix: str = PREFIX) -> None:
        """Raises ValueError if the URL is invalid."""
        self._dispatcher, self.name, self._prefix = dispatcher, name, prefix
        self._publisher = redis.asyncio.Redis.from_url(url, **connection(Retry))
        self._reader = redis.asyncio.Redis.from_url(url, **connection(Retry, retries=0))
        self._connections: dict[str, _Connection] = {}
        # To be published: single messages, with the channel's name and the connection; and connections with news.
        self._messages: list[tuple[str, bytes, _Connection | None]] = []
        self._with_news: set[_Connection] = set()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        work = (self._read(), self._publish(), self._probe())
        self._tasks = [asyncio.create_task(each, name="direct delivery over Redis") for each in work]

    async def close(self) -> None:
        # redis-py ignores a cancellation while it connects, so cancel until the tasks end.
        while running := [task for task in self._tasks if not task.done()]:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=0.1)
        self._lose_all()
        for client in (self._reader, self._publisher):
            await client.aclose()

    # -- from the workers ------------------------------------------------------------------------------

    async def _read(self) -> None:
        channels = (self._prefix + self.name, self._prefix + APIS)
        while True:
            with contextlib.suppress(RedisError, OSError):
                async with self._reader.pubsub() as published:
                    await published.subscribe(*channels)
                    while True:
                        message = await published.get_message(timeout=None)
                        if message and message["type"] == "message":
                            self._received(message["data"])
                        elif message and message["data"] == len(channels):
                            self._dispatcher.reaches_workers = True
                            self.send(WORKERS, self.name.encode())
            self._dispatcher.reaches_workers = False
            self._lose_all()
            await asyncio.sleep(RECONNECT_S)

    def _received(self, data: bytes) -> None:
        if is_name(data):
            self.send(data.decode(), self.name.encode())
            return
        message = Message.parse(data)
        known = self._connections.get(message.sender)
        if known is None or known.stream.number != message.number:
            if message.position:
                self._refuse(message)
                return
            if known is not None:
                self.lose(known)
            known = self._connections[message.sender] = _Connection(self, message.sender, message.number)
        frames = known.stream.read(message)
        if frames is None:
            self._refuse(message)
            self.lose(known)
            return
        self.news_of(known)
        for frame in frames:
            self._dispatcher.received(known.link, frame)

    def _refuse(self, message: Message) -> None:
        if message.position != CLOSED:
            self.send(message.sender, Message(self.name, message.number, CLOSED, 0).pack())

    def lose(self, lost: "_Connection") -> None:
        if self._connections.get(lost.worker) is lost:
            del self._connections[lost.worker]
            self._dispatcher.lost(lost.link)

    def _lose_all(self) -> None:
        for each in list(self._connections.values()):
            self.lose(each)

    # -- to the workers --------------------------------------------------------------------------------

    def send(self, to: str, message: bytes, via: "_Connection | None" = None) -> None:
        self._messages.append((to, message, via))
        self._news.set()

    def news_of(self, one: "_Connection") -> None:
        self._with_news.add(one)
        self._news.set()

    async def _publish(self) -> None:
        """Publish what has come up since the last round, in one round trip."""
        while True:
            await self._news.wait()
            self._news.clear()
            messages, self._messages = self._messages, []
            with_news, self._with_news = self._with_news, set()
            for one in with_news:
                while message := one.stream.next():
                    messages.append((one.worker, message, one))
            if not messages:
                continue
            try:
                async with self._publisher.pipeline(transaction=False) as commands:
                    for to, message, _ in messages:
                        commands.publish(self._prefix + to, message)
                    readers = await commands.execute()
            except (RedisError, OSError):
                readers = [0] * len(messages)
            for (_, _, via), count in zip(messages, readers, strict=True):
                if via is not None and not count:
                    self.lose(via)

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(PROBE_S)
            for each in self._connections.values():
                if each.link.held:
                    self.send(each.worker, each.stream.next(even_empty=True) or b"", each)


class _Connection:
    """A Transport."""

    def __init__(self, server: RedisServer, worker: str, number: int) -> None:
        self._server, self.worker = server, worker
        self.stream, self.link = Stream(server.name, number), WorkerLink(self)

    def send(self, frame: bytes) -> None:
        self.stream.write(frame)
        self._server.news_of(self)

    def end(self) -> None:
        self._server.send(self.worker, Message(self._server.name, self.stream.number, CLOSED, 0).pack())
        self._server.lose(self)
