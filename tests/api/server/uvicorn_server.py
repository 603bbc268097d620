"""uvicorn on a free port in a thread, with a small ASGI application."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn


class Ticking(uvicorn.Server):
    """Notes the numbers of its ticks."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ticks: list[int] = []

    async def on_tick(self, counter: int) -> bool:
        self.ticks.append(counter)
        return await super().on_tick(counter)


@contextlib.contextmanager
def serving(app: Any, protocol: Callable[..., Any]) -> Iterator[tuple[Ticking, Callable[[], socket.socket]]]:
    """The server, and what connects to it. The server adds no headers of its own."""
    config: Any = {"http": protocol, "loop": "uvloop", "lifespan": "off", "log_config": None, "access_log": False}
    config |= {"server_header": False, "date_header": False, "proxy_headers": False, "timeout_graceful_shutdown": 5}
    server = Ticking(uvicorn.Config(app, **config))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            end = time.monotonic() + 30
            while not server.started:
                assert time.monotonic() < end, "uvicorn did not start"
                time.sleep(0.01)
            yield server, lambda: socket.create_connection(listening.getsockname(), timeout=30)
        finally:
            server.should_exit = True
            thread.join(30)
    assert not thread.is_alive()


def read_answer(peer: socket.socket, ending: bytes = b"\r\n\r\nbody") -> bytes:
    """One answer, up to and including its body, and nothing of the next one."""
    received = b""
    while not received.endswith(ending):
        part = peer.recv(1)
        assert part, received
        received += part
    return received
