"""An API process without a worker, and its memory use."""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Running


class Api(Running):
    """`whyserve api` on a free port."""

    def __init__(self, artifacts: Path, state: Path, *flags: str, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        folders = ["--artifacts", str(artifacts), "--state", str(state), "--port", str(self.port)]
        super().__init__(["api", *folders, *flags], environment)
        end = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < end:
            try:
                httpx.get(f"{self.address}/health/live", trust_env=False)
                return
            except httpx.TransportError:
                time.sleep(0.05)
        self.stop()
        raise AssertionError(self.output)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def forget_peak(self) -> int:
        """Reset the peak. Returns the current memory use in bytes."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self._memory("VmRSS")

    def peak(self) -> int:
        return self._memory("VmHWM")

    def _memory(self, which: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith(which))


@pytest.fixture(scope="module")
def start_api(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Api]]:
    started: list[Api] = []

    def start(*flags: str, **environment: str) -> Api:
        started.append(Api(artifacts, tmp_path_factory.mktemp("state"), *flags, **environment))
        return started[-1]

    yield start
    for api in started:
        assert api.stop() in (0, -signal.SIGTERM), api.output
