"""Checks at a process's start that Redis can be used, before anything is served.

A Redis that is down is no error: predictions need no Redis, and explanations start when Redis is up. A host name
without an address and a refused user are errors of the settings.
"""

import socket
import time

import redis
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

from whyserve.delivery.redis_stream import connection
from whyserve.errors import ConfigurationError
from whyserve.queues.redis_store import PREFIX, SCRIPT

RETRY_S = 0.2
SETTING = "WHYSERVE_REDIS_URL"


def check_redis(url: str, wait_s: float) -> None:
    """Connect once.

    Raises ConfigurationError if Redis refuses the user or if the host has no address within `wait_s`, and ValueError if
    the URL is invalid.
    """
    end = time.monotonic() + wait_s
    with redis.Redis.from_url(url, **connection()) as client:
        script = client.register_script(SCRIPT)
        while True:
            try:
                script(keys=[PREFIX], args=["workers"])
                return
            except (AuthenticationError, AuthorizationError) as error:
                raise ConfigurationError(
                    f"{SETTING}: Redis refused the user or password; write them as redis://user:password@host"
                ) from error
            except NoPermissionError as error:
                raise ConfigurationError(
                    f"{SETTING}: this Redis user lacks permissions; docker/redis.acl lists what the queue needs"
                ) from error
            except (RedisError, OSError) as error:
                if not _is_unknown_host(error):
                    return  # the host exists, and Redis may start later
                if time.monotonic() > end:
                    # redis-py's message holds host and port, and never the password.
                    why = str(error).rstrip(".")
                    raise ConfigurationError(
                        f"{SETTING}: Redis cannot be reached ({why}); start Redis, or change the address"
                    ) from error
            time.sleep(RETRY_S)


def _is_unknown_host(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False
