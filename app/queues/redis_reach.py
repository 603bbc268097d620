"""Whether the Redis that is meant is there and lets this process in: asked once, before anything is served.

Later it may go and come back; that is waited for. One that was never there is a mistake in the settings.
"""

import time

import redis
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

from app.errors import ConfigurationError
from app.queues.redis_script import PREFIX, SCRIPT, connection

AGAIN_S = 0.2
SETTING = "WHYSERVE_REDIS_URL"


def reach(url: str, patience_s: float) -> None:
    """Wait until it answers. Raises ConfigurationError when it refuses, or is not there; ValueError for no URL."""
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
                if time.monotonic() > end:
                    # redis-py names host and port here, and never the password.
                    why = str(error).rstrip(".")
                    raise ConfigurationError(
                        f"{SETTING}: Redis cannot be reached ({why}); start it, or change the address"
                    ) from error
            time.sleep(AGAIN_S)
