"""A PostgreSQL of its own, as another user: initdb refuses root."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


class Postgres:
    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self._run("initdb", "-D", self._data, "-A", "trust", "-U", "postgres", "-N")
        self.address = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    @staticmethod
    def _run(program: str, *arguments: object) -> None:
        user = ["runuser", "-u", "nobody", "--"] if os.getuid() == 0 else []
        command = [*user, str(FOLDERS[-1] / program), *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    def start(self) -> None:
        """Returns when it answers, also after its recovery."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        log = self._data.parent / "log"
        self._run("pg_ctl", "-D", self._data, "-l", log, "-w", "-o", options, "start")

    def kill(self) -> None:
        """End it as a crash does: the postmaster by SIGKILL, and with it its processes."""
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            try:
                os.kill(each, 9)
            except ProcessLookupError:
                continue
        end = time.monotonic() + 10
        while any(Path(f"/proc/{each}").exists() for each in (pid, *children)) and time.monotonic() < end:
            time.sleep(0.02)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "fast", "stop")


@contextmanager
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    folder.chmod(0o777)
    made = Postgres(folder)
    made.start()
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)
