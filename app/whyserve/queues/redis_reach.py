"""Whether the Redis that is meant is there and lets this process in: asked once, before anything is served.

One that is down is waited for while predicting goes on, now as later. A host that nobody knows, or one that refuses
this process, is a mistake in the settings.
"""

import socket
import time

import redis
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

from whyserve.errors import ConfigurationError
from whyserve.queues.redis_script import PREFIX, SCRIPT, connection

AGAIN_S = 0.2
SETTING = "WHYSERVE_REDIS_URL"


def reach(url: str, patience_s: float) -> None:
    """Raises ConfigurationError when it refuses, or its host has no address by then; ValueError for no URL."""
    end = time.monotonic() + patience_s
    with redis.Redis.from_url(url, **connection()) as client:
        look = client.register_script(SCRIPT)
        while True:
            try:
                look(keys=[PREFIX], args=["workers"])
                return
            except (AuthenticationError, AuthorizationError) as error:
                raise ConfigurationError(
                    f"{SETTING}: Redis does not take this user and password; write them as redis://user:password@host"
                ) from error
            except NoPermissionError as error:
                raise ConfigurationError(
                    f"{SETTING}: this user of Redis may not do what the queue needs; docker/redis.acl lists that"
                ) from error
            except (RedisError, OSError) as error:
                if not _is_unknown(error):
                    return  # the host is there; so may Redis be, soon
                if time.monotonic() > end:
                    # redis-py names host and port here, and never the password.
                    why = str(error).rstrip(".")
                    raise ConfigurationError(
                        f"{SETTING}: Redis cannot be reached ({why}); start it, or change the address"
                    ) from error
            time.sleep(AGAIN_S)


def _is_unknown(error: BaseException | None) -> bool:
    """Whether the host's name has no address."""
    while error is not None:
        if isinstance(error, socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False
