"""`whyserve up`: export what is stale, then keep an API and a worker running until told to stop."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import IO

from whyserve.errors import ConfigurationError, Unavailable, WhyserveError
from whyserve.jobs import new_id
from whyserve.model.manifest import MANIFEST_FILE, read_manifest
from whyserve.model.spec import model_folders
from whyserve.processes.listening import check_exposure, listen
from whyserve.processes.parent import PARENT_FD
from whyserve.queues.factory import open_admin
from whyserve.settings import UpSettings

Say = Callable[[str], None]
START_S = 120.0
LOOK_S = 0.1
# A process that never comes to work is started ever later, to leave the machine to the others. One that did work
# is started at once: a job that ends its worker does so three times at the most.
BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
STEADY_S = 30.0
# All is stopped by then, whatever hangs: who stops a service kills it after 30 seconds or more.
STOP_S = 29.0


class Supervisor:
    def __init__(self, settings: UpSettings, say: Say) -> None:
        self._settings, self._say = settings, say
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._listening: socket.socket | None = None
        self._parent_read, self._parent_write = os.pipe()
        self._owner = ""
        self._began: dict[str, float] = {}
        self._deaths = {"api": 0, "worker": 0}
        self._signal: int = signal.SIGTERM

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises WhyserveError where it cannot start, or cannot go on."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        check_exposure(self._settings)
        lock = self._lock_state()
        self._listening = listen(self._settings.host, self._settings.port)
        self._export()
        if self._stop.is_set():
            return
        self._store = open_admin(self._settings)
        self._store.release_all()  # the lock says that no worker of this queue is running
        worker, api = self._start_worker(), self._start("api")
        try:
            self._await_ready(worker, api)
            self._keep()
        finally:
            self._shut_down()
            self._store.close()
            lock.close()

    def _on_signal(self, number: int, _: object) -> None:
        if number != signal.SIGCHLD:
            self._signal = number
            self._stop.set()
        self._changed.set()

    def _lock_state(self) -> IO[bytes]:
        try:
            self._settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self._settings.state / "up.lock").open("wb")
        except OSError as error:
            raise ConfigurationError(f"WHYSERVE_STATE: {self._settings.state}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise ConfigurationError(
                f"another `whyserve up` is running on {self._settings.state}; stop it, or set WHYSERVE_STATE"
            ) from error
        return lock

    # -- children ------------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        given = {f"WHYSERVE_{key.upper()}": str(value) for key, value in self._settings if value is not None}
        return {**os.environ, **given, PARENT_FD: str(self._parent_read), "KERAS_BACKEND": "torch"}

    def _start(self, role: str, **environment: str) -> subprocess.Popen[bytes]:
        assert self._listening is not None, "set before any child starts"
        # Only the API listens: held by another too, the port would take callers whom nobody answers.
        listening = [self._listening.fileno()] if role == "api" else []
        flags = ["--fd", str(self._listening.fileno())] if role == "api" else []
        self._began[role] = time.monotonic()
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "whyserve.cli", role, *flags],
            env={**self._environment(), **environment},
            pass_fds=[self._parent_read, *listening],
            start_new_session=True,  # a Ctrl-C is this process's to hand on, in the right order
        )

    def _start_worker(self) -> subprocess.Popen[bytes]:
        self._owner = f"up-{new_id()[:12]}"
        return self._start("worker", WHYSERVE_OWNER=self._owner)

    def _export(self) -> None:
        child = self._start("export")
        while child.poll() is None:
            self._wait()
            if self._stop.is_set():
                child.terminate()
        if child.returncode and not self._stop.is_set():
            raise WhyserveError("the export failed, as said above; nothing was started")

    def _wait(self) -> None:
        self._changed.wait(LOOK_S)
        self._changed.clear()

    # -- the life of the service ---------------------------------------------------------------------

    def _await_ready(self, worker: subprocess.Popen[bytes], api: subprocess.Popen[bytes]) -> None:
        self._children = {"worker": worker, "api": api}
        began = time.monotonic()
        while not self._stop.is_set() and not self._is_ready():
            for role, child in self._children.items():
                if child.poll() is not None:
                    raise WhyserveError(f"the {role} did not start, as said above")
            if time.monotonic() - began > START_S:
                raise WhyserveError(f"the service was not ready within {START_S:.0f} s")
            self._wait()
        if not self._stop.is_set():
            self._greet()

    @property
    def address(self) -> str:
        assert self._listening is not None, "set before any child starts"
        host, port = self._listening.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _is_ready(self) -> bool:
        try:
            expected = 1
            if not self._store.workers():
                return False
        except Unavailable:
            expected = 0  # predicting needs no queue, and explaining begins when there is one
        try:
            with urllib.request.urlopen(f"{self.address}/health/ready", timeout=2) as answer:  # noqa: S310
                return bool(json.load(answer)["workers"] >= expected)
        except OSError:
            return False

    def _greet(self) -> None:
        folders = model_folders(self._settings.artifacts, MANIFEST_FILE)
        body = min((json.dumps(read_manifest(folder)[0].example) for folder in folders), key=len)
        self._say(f"\nwhyserve is ready on {self.address} (documentation: {self.address}/docs)\n\nTry:")
        for path in ("predict", "explain"):
            self._say(f"  curl -s {self.address}/{path} -H 'Content-Type: application/json' -d '{body}'")
        self._say("\nCtrl-C stops it.")

    def _keep(self) -> None:
        """Start again what dies. New callers wait at the socket meanwhile: it is this process's own."""
        while not self._stop.is_set():
            for role, child in list(self._children.items()):
                if child.poll() is not None:
                    self._replace(role, child.returncode)
            self._wait()

    def _replace(self, role: str, code: int) -> None:
        worked = time.monotonic() - self._began[role] > STEADY_S
        if role == "worker":
            with contextlib.suppress(Unavailable):  # then its leases end by themselves
                worked = worked or self._owner in {record.owner for record in self._store.workers()}
                self._store.release(self._owner)  # its jobs go to the next one now, not when its leases end
        self._deaths[role] = 1 if worked else self._deaths[role] + 1
        pause = BACKOFF_S[min(self._deaths[role], len(BACKOFF_S)) - 1]
        self._say(f"the {role} died ({_how(code)}); starting another in {pause:g} s")
        self._sleep(pause)
        if not self._stop.is_set():
            self._children[role] = self._start_worker() if role == "worker" else self._start("api")

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stop.is_set() and time.monotonic() < end:
            self._wait()

    def _shut_down(self) -> None:
        assert self._listening is not None, "set before any child starts"
        end = time.monotonic() + STOP_S
        self._listening.close()  # who comes once the API has closed its own is refused, and need not wait
        # The API first: the requests it still holds need the worker for their answers. What the worker has not
        # finished by the end is handed back, and the next one has it.
        for role, least in (("api", 2.0), ("worker", 0.0)):
            child = self._children[role]
            if child.poll() is None:
                child.send_signal(self._signal)
            patience = max(0.0, end - time.monotonic() - least)
            try:
                child.wait(patience)
            except subprocess.TimeoutExpired:
                self._say(f"the {role} did not stop in time and was killed")
                child.kill()
                child.wait()


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def main(settings: UpSettings) -> None:
    Supervisor(settings, lambda line: print(line, flush=True)).run()  # noqa: T201
