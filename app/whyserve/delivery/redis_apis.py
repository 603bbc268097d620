"""The worker's connections to APIs over Redis."""

import contextlib
import itertools
import selectors
import threading
from collections.abc import Collection
from typing import Any

import redis
from redis.exceptions import RedisError

from whyserve.delivery.apis import Api, Received, Transport
from whyserve.delivery.redis_stream import APIS, CLOSED, PREFIX, SOCKET_S, WORKERS, Message, Stream, connection, is_name
from whyserve.jobs import new_id


class _RedisApi(Api):
    """Safe in any thread. is_lost: Redis could not be reached, or the API does not read any more."""

    def __init__(self, apis: "RedisApis", name: str, number: int) -> None:
        super().__init__(name)
        self._apis, self.stream, self._lock = apis, Stream(apis.name, number), threading.Lock()
        self.is_lost = False

    def send(self, frames: bytes) -> None:
        with self._lock:
            self.stream.write(frames)
            self._publish()

    def _publish(self) -> None:
        # Under the lock, because messages must be published in their order.
        while not self.is_lost and (message := self.stream.next()):
            self.is_lost = not self._apis.publish(self.name, message)

    def read(self, message: Message) -> Received:
        with self._lock:
            frames = self.stream.read(message) if message.number == self.stream.number else []
            self._publish()
        return self, frames


class RedisApis(Transport):
    def __init__(self, url: str, prefix: str = PREFIX) -> None:
        """Raises ValueError if the URL is invalid."""
        super().__init__()
        self.name, self._prefix = new_id(), prefix
        self._redis = redis.Redis.from_url(url, **connection())
        self._reader = redis.Redis.from_url(url, **connection(retries=0))
        self._published: Any = None
        # Names that were published and are not known to have ended.
        self._names: set[str] = set()
        self._numbers = itertools.count(1)

    def publish(self, to: str, message: bytes) -> bool:
        """Whether somebody reads it."""
        with contextlib.suppress(RedisError, OSError):
            if self._redis.publish(self._prefix + to, message):
                return True
            self._names.discard(to)  # until it publishes its name again
        return False

    def connect(self, hello: bytes, elsewhere: Collection[str]) -> None:
        self.is_invited = False
        if self._published is None and not self._subscribe():
            return
        for name in self._names - self.connected.keys() - set(elsewhere):
            self.connected[name] = _RedisApi(self, name, next(self._numbers))
            self.connected[name].send(hello)

    def _subscribe(self) -> bool:
        published: Any = self._reader.pubsub()  # type: ignore[no-untyped-call]
        try:
            published.subscribe(self._prefix + self.name, self._prefix + WORKERS)
        except (RedisError, OSError):
            published.close()
            return False
        self._published = published
        # redis-py has no other way to its socket.
        self.selector.register(published.connection._get_socket(), selectors.EVENT_READ)
        return True

    def _unsubscribe(self) -> None:
        if self._published is not None:
            for key in list(self.selector.get_map().values()):
                self.selector.unregister(key.fileobj)
            self._published.close()
            self._published = None

    def receive(self) -> list[Received]:
        found: list[Received] = []
        try:
            while self._published is not None and self._published.connection.can_read(timeout=0):
                # The first bytes of a message have arrived. Without a timeout, the missing ones would be an error.
                message = self._published.get_message(timeout=SOCKET_S)
                if message is None:
                    continue
                if message["type"] == "message":
                    found += self._received(message["data"])
                elif message["data"] == 2:  # both channels are subscribed
                    self.publish(APIS, self.name.encode())
        except (RedisError, OSError):
            self._unsubscribe()
        for api in self.apis:
            assert isinstance(api, _RedisApi)
            api.is_lost = api.is_lost or self._published is None
            if api.is_lost:
                found.append((api, None))
        return found

    def _received(self, data: bytes) -> list[Received]:
        if is_name(data):
            self._names.add(data.decode())
            self.is_invited = True
            return []
        message = Message.parse(data)
        api = self.connected.get(message.sender)
        return [api.read(message)] if isinstance(api, _RedisApi) else []

    def lose(self, api: Api) -> None:
        """End a connection. The API gives the jobs of it to other workers."""
        assert isinstance(api, _RedisApi)
        if self.connected.pop(api.name, None) and not api.is_lost:
            self.publish(api.name, Message(self.name, api.stream.number, CLOSED, 0).pack())

    def close(self) -> None:
        self._unsubscribe()
        super().close()
        for client in (self._reader, self._redis):
            client.close()
