"""Where the service listens. Apart from the API, so that the supervisor needs none of its libraries."""

import ipaddress
import socket

from whyserve.errors import ConfigurationError
from whyserve.settings import ApiSettings


def check_exposure(settings: ApiSettings) -> None:
    """Raises ConfigurationError where other machines could ask and nobody would check who does."""
    if settings.keys or settings.keys_file or settings.allow_anonymous or _is_loopback(settings.host):
        return
    raise ConfigurationError(
        f"WHYSERVE_HOST: {settings.host} is open to other machines, and there are no keys; make one with "
        "`whyserve key NAME` and put its line into WHYSERVE_KEYS_FILE; or set WHYSERVE_ALLOW_ANONYMOUS=true where a "
        "gateway in front checks who asks"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigurationError when the address cannot be had."""
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
