"""The worker's connections to APIs over Redis."""

import itertools
import threading
from collections.abc import Collection

import redis
from redis.exceptions import RedisError

from whyserve.delivery.apis import Api, Received
from whyserve.delivery.redis_stream import (
    APIS,
    CLOSED,
    PREFIX,
    WORKERS,
    Message,
    Stream,
    Subscription,
    connection,
    is_name,
)
from whyserve.jobs import new_id


class _RedisApi(Api):
    """Safe in any thread. is_lost: Redis could not be reached, or the API does not read any more."""

    def __init__(self, apis: "RedisApis", name: str, number: int) -> None:
        super().__init__()
        self._apis, self.name = apis, name
        self.stream, self._lock = Stream(apis.name, number), threading.Lock()
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


class RedisApis:
    """A Transport."""

    def __init__(self, url: str, prefix: str = PREFIX) -> None:
        """Raises ValueError if the URL is invalid."""
        self.name, self._prefix = new_id(), prefix
        self._redis = redis.Redis.from_url(url, **connection())
        self._subscription = Subscription(url, prefix + self.name, prefix + WORKERS)
        self._apis: dict[str, _RedisApi] = {}
        self._named: set[str] = set()
        self._numbers = itertools.count(1)
        self.is_invited = False

    def fileno(self) -> int:
        return self._subscription.fileno()

    @property
    def apis(self) -> Collection[_RedisApi]:
        return list(self._apis.values())

    def publish(self, to: str, message: bytes) -> bool:
        """Whether somebody reads it."""
        try:
            if self._redis.publish(self._prefix + to, message):
                return True
            self._named.discard(to)  # until it publishes its name again
        except (RedisError, OSError):
            pass
        return False

    def connect(self, hello: bytes, elsewhere: Collection[str]) -> None:
        self.is_invited = False
        if self._subscription.connect():
            for name in self._named - self._apis.keys() - set(elsewhere):
                self._apis[name] = _RedisApi(self, name, next(self._numbers))
                self._apis[name].send(hello)

    def receive(self) -> list[Received]:
        published = self._subscription.read(lambda: self.publish(APIS, self.name.encode()))
        found: list[Received] = []
        for data in published or ():
            if is_name(data):
                self._named.add(data.decode())
                self.is_invited = True
            elif api := self._apis.get((message := Message.parse(data)).sender):
                found.append(api.read(message))
        for api in self.apis:
            api.is_lost = api.is_lost or published is None
            if api.is_lost:
                found.append((api, None))
        return found

    def lose(self, api: Api) -> None:
        """End a connection. The API gives the jobs of it to other workers."""
        assert isinstance(api, _RedisApi)
        if self._apis.pop(api.name, None) and not api.is_lost:
            self.publish(api.name, Message(self.name, api.stream.number, CLOSED, 0).pack())

    def close(self) -> None:
        self._subscription.close()
        self._redis.close()
