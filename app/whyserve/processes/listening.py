"""The service's listening socket. A module of its own, so that the supervisor imports none of the API's libraries."""

import ipaddress
import socket

from whyserve.errors import ConfigurationError
from whyserve.settings import Settings


def check_exposure(settings: Settings) -> None:
    """Raises ConfigurationError if other machines could send requests without authentication."""
    if settings.is_guarded or settings.allow_anonymous or _is_loopback(settings.host):
        return
    raise ConfigurationError(
        f"WHYSERVE_HOST: {settings.host} is open to other machines, and no API keys are set; create a key with "
        "`whyserve key NAME` and add its line to WHYSERVE_KEYS_FILE, or set WHYSERVE_ALLOW_ANONYMOUS=true if a "
        "gateway in front authenticates callers"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, which child processes inherit. Raises ConfigurationError if the address is not available."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"WHYSERVE_HOST, WHYSERVE_PORT: cannot listen on {host}:{port}: {error.strerror}; choose another port"
        ) from error
    listening.listen(2048)
    listening.set_inheritable(True)
    return listening
