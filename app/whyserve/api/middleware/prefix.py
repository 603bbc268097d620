"""The path prefix below which a proxy serves the service: WHYSERVE_ROOT_PATH, or X-Forwarded-Prefix of a proxy."""

import re
from collections.abc import Container, Mapping

from starlette.types import Scope

FORWARDED_PREFIX = b"x-forwarded-prefix"
PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class Prefix:
    """Sets `root_path` of a request, and removes the prefix from `path` if the proxy has left it there."""

    def __init__(self, own: str, proxies: Container[str]) -> None:
        """own: of all requests. proxies: the addresses of trusted ones."""
        self._own, self._proxies = own, proxies

    def __call__(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        prefix = self._own
        given = headers.get(FORWARDED_PREFIX)
        # The address of an IPv4 peer begins with ::ffff: if the service listens on ::.
        if given is not None and scope["client"] and scope["client"][0].removeprefix("::ffff:") in self._proxies:
            text = given.decode("latin-1").rstrip("/")
            prefix = text if PREFIX.fullmatch(text) else prefix
        scope["root_path"] = prefix
        path: str = scope["path"]
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            scope["path"] = path[len(prefix) :] or "/"
