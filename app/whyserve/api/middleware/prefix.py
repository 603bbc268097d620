"""The path prefix below which a proxy serves the service: WHYSERVE_ROOT_PATH, or X-Forwarded-Prefix of a proxy."""

import ipaddress
import re
from collections.abc import Mapping

from starlette.types import Scope

from whyserve.settings import ApiSettings, listed

PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class Prefix:
    """Sets `root_path` of a request, and removes the prefix from `path` if the proxy has left it there."""

    def __init__(self, settings: ApiSettings) -> None:
        self._own = settings.root_path
        trusted = listed(settings.trusted_proxies)
        self._all = trusted == ["*"]
        self._trusted = [] if self._all else [ipaddress.ip_network(each) for each in trusted]

    def __call__(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        prefix = self._own
        given = headers.get(b"x-forwarded-prefix")
        if given is not None and self._trusts(scope):
            text = given.decode("latin-1").rstrip("/")
            prefix = text if PREFIX.fullmatch(text) else prefix
        scope["root_path"] = prefix
        path: str = scope["path"]
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            scope["path"] = path[len(prefix) :] or "/"

    def _trusts(self, scope: Scope) -> bool:
        """Whether the peer is a trusted proxy."""
        if self._all:
            return True
        try:
            peer = ipaddress.ip_address(scope["client"][0])
        except (TypeError, ValueError):
            return False
        return any(peer in network for network in self._trusted)
