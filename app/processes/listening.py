"""Where the service listens. Apart from the API, so that the supervisor needs none of its libraries."""

import socket

from app.errors import ConfigurationError


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
