"""`whyserve up`: export what has changed, then keep an API and a worker running until a signal to stop."""

import contextlib
import fcntl
import json
import signal
import time
import urllib.request
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import IO

from whyserve.errors import ConfigurationError, Unavailable, WhyserveError
from whyserve.model.builds import model_folders
from whyserve.model.manifest import MANIFEST_FILE, read_manifest
from whyserve.processes.children import Children, how_it_died
from whyserve.processes.listening import check_exposure, listen
from whyserve.queue_protocols import JobStore
from whyserve.queues.factory import open_store
from whyserve.settings import UpSettings

Say = Callable[[str], None]
LOOK_S = 0.1
# The exit code of a process that has printed why it cannot start. All others are deaths.
REPORTED = 1
# Pauses before the restart of a process that died again before it worked: they grow, to leave the machine to others.
# A process that worked is started again at once; a job that ends its worker does so MAX_DELIVERIES times at most.
BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
# A process that ran for so long has worked.
STEADY_S = 30.0
# The time of a whole shutdown. Service managers kill a service after 30 seconds or more.
STOP_S = 29.0


class Supervisor:
    def __init__(self, settings: UpSettings, say: Say) -> None:
        self._settings, self._say = settings, say
        # Not an Event: a handler that sets an Event waits forever if the signal meets the code that holds its lock.
        self._changed: SimpleQueue[int] = SimpleQueue()
        self.stopping = False
        self._deaths = {"api": 0, "worker": 0}  # in a row, of processes that never worked
        self._worked: set[str] = set()  # the roles of which a process has worked
        self._signal: int = signal.SIGTERM

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises WhyserveError if it cannot start."""
        self.catch_signals()
        check_exposure(self._settings)
        lock = self._lock_state()
        listening = listen(self._settings.host, self._settings.port)
        host, port = listening.getsockname()[:2]
        self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._children = Children(self._settings, listening)
        self._export()
        if self.stopping:
            return
        folders = model_folders(self._settings.artifacts, MANIFEST_FILE)
        self._served = [read_manifest(folder) for folder in folders]
        self._queue: JobStore = open_store(self._settings)
        with contextlib.suppress(Unavailable):  # then the leases end by themselves
            self._queue.release_all()  # the lock guarantees that no worker of this queue runs
        self._children.start("worker")
        self._children.start("api")
        try:
            self._keep_running()
        finally:
            listening.close()  # new callers are refused at once after the API has closed its own copy
            for role in self._children.stop(self._signal, STOP_S):
                self._say(f"the {role} did not stop in time and was killed")
            self._queue.close()
            lock.close()

    def catch_signals(self) -> None:
        """From now on, a signal ends `wait`, and SIGTERM and SIGINT set `stopping`."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: object) -> None:
        if number != signal.SIGCHLD:
            self._signal, self.stopping = number, True
        self._changed.put(number)

    def _lock_state(self) -> IO[bytes]:
        try:
            self._settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self._settings.state / "up.lock").open("wb")
        except OSError as error:
            raise ConfigurationError(
                f"WHYSERVE_STATE: cannot write {self._settings.state}: {error.strerror}; set another folder"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise ConfigurationError(
                f"another `whyserve up` uses the folder {self._settings.state}; stop it, or set WHYSERVE_STATE"
            ) from error
        return lock

    def _export(self) -> None:
        child = self._children.start_export()
        while child.poll() is None:
            self.wait()
            if self.stopping:
                child.terminate()
        if child.returncode and not self.stopping:
            raise WhyserveError("the export failed (see the lines above); nothing was started")

    def wait(self) -> None:
        """Wait for a signal, LOOK_S at most."""
        with contextlib.suppress(Empty):
            self._changed.get(timeout=LOOK_S)

    def _keep_running(self) -> None:
        """Restart processes that die. Meanwhile new callers wait: the listening socket is this process's.

        Raises WhyserveError if a process reports that it cannot start, or if the API is not ready within start_s.
        """
        end, greeted = time.monotonic() + self._settings.start_s, False
        while not self.stopping:
            for role, child in list(self._children.running.items()):
                if child.poll() is not None:
                    self._restart(role, child.returncode)
            if not greeted and not self.stopping:
                predicts, explains = self._predicts(), self._explains()
                greeted = predicts and (explains or time.monotonic() > end)
                if greeted:
                    self._greet(explains)
                elif time.monotonic() > end:
                    raise WhyserveError(
                        f"the service was not ready within {self._settings.start_s:g} s; raise WHYSERVE_START_S"
                    )
            self.wait()

    def _predicts(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health/ready", timeout=2):  # noqa: S310
                self._worked.add("api")
        except OSError:
            return False
        return True

    def _explains(self) -> bool:
        served = {digest for _, digest in self._served}
        try:
            ready = any(served <= worker.digests for worker in self._queue.workers())
        except Unavailable:
            return True  # explanations start when the queue is reachable
        if ready:
            self._worked.add("worker")
        return ready

    def _greet(self, explains: bool) -> None:
        body = min((json.dumps(manifest.example) for manifest, _ in self._served), key=len)
        key = " -H 'X-API-Key: YOUR_KEY'" if self._settings.is_guarded else ""
        self._say(
            f"\nwhyserve is ready on {self.address} (page: {self.address}/, documentation: {self.address}/docs)\n\nTry:"
        )
        for path in ("predict", "explain"):
            self._say(f"  curl -s {self.address}/{path} -H 'Content-Type: application/json'{key} -d '{body}'")
        if not explains:
            self._say("\nExplanations are not available yet: no worker has loaded all models. Predictions are served.")
        self._say("\nCtrl-C stops it.")

    def _restart(self, role: str, code: int) -> None:
        """Start a process that died again. Raises WhyserveError if it has reported why it cannot start."""
        if code == REPORTED and role not in self._worked:
            raise WhyserveError(f"the {role} did not start (see the lines above)")
        worked = self._children.seconds_since_start(role) > STEADY_S
        if role == "worker":
            owner = self._children.owner
            with contextlib.suppress(Unavailable):  # then the leases end by themselves
                worked = worked or owner in {record.owner for record in self._queue.workers()}
                self._queue.release(owner)  # the next worker gets the jobs now, not when their leases end
        self._deaths[role] = 1 if worked else self._deaths[role] + 1
        pause_s = BACKOFF_S[min(self._deaths[role], len(BACKOFF_S)) - 1]
        self._say(f"the {role} died ({how_it_died(code)}); starting another in {pause_s:g} s")
        end = time.monotonic() + pause_s
        while not self.stopping and time.monotonic() < end:
            self.wait()
        if not self.stopping:
            self._children.start(role)


def main(settings: UpSettings) -> None:
    Supervisor(settings, lambda line: print(line, flush=True)).run()  # noqa: T201
