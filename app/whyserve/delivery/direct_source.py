"""Direct delivery, the worker's side: takes jobs from every API of this machine and sends their results back.

A job here is leased by its connection: if the connection ends, its API gives the job to another worker.
"""

import contextlib
import selectors
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from whyserve.delivery.frames import (
    VERSION,
    Decoder,
    Frame,
    Kind,
    Reply,
    decode_request,
    encode,
    encode_error,
    encode_reply,
)
from whyserve.delivery.unix_server import BEATS_PER_LEASE, listening_apis, socket_folder
from whyserve.jobs import JobError, Lease, job_error

RECEIVE_BYTES = 1 << 18
# An API that does not read for so long is given up.
SEND_S = 5.0
CANCELLED = job_error("explanation_cancelled", "the caller does not wait any more")


class _Api:
    """A connection to one API. arrived: its jobs that are not started."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self.path, self.decoder = path, Decoder()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(SEND_S)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.replies: list[bytes] = []
        self._lock = threading.Lock()

    def send(self, frame: bytes) -> None:
        """Safe in any thread. A connection that fails is ended, which is noticed when it is read."""
        with self._lock:
            try:
                self.socket.sendall(frame)
            except OSError:
                # A part of the frame may have been sent, so no other frame can follow.
                with contextlib.suppress(OSError):
                    self.socket.shutdown(socket.SHUT_RDWR)

    def flush(self) -> None:
        if self.replies:
            frames, self.replies = self.replies, []
            self.send(b"".join(frames))


class DirectSource:
    """Jobs of the APIs on this machine. One thread calls all methods but `announce` and `beat`."""

    def __init__(self, state: Path, owner: str, credits: int, queue: int) -> None:
        """credits: jobs that each API may send before the first of them is answered. queue: JobSource.fileno()."""
        self._folder, self._owner, self._credits = socket_folder(state), owner, credits
        self._selector = selectors.DefaultSelector()
        self._selector.register(queue, selectors.EVENT_READ)
        self._apis: dict[Path, _Api] = {}
        self._digests: Sequence[str] = ()
        self._arrived: dict[str, tuple[Lease, _Api]] = {}
        # Jobs in computation, with the API that gets the result; and those that no caller waits for any more.
        self._taken: dict[str, _Api] = {}
        self._unwanted: set[str] = set()

    def announce(self, digests: Sequence[str]) -> None:
        """From now on the worker gets jobs of these manifests."""
        self._digests = list(digests)
        for api in list(self._apis.values()):
            api.send(encode(Kind.DIGESTS, {"digests": self._digests}))

    def connect(self) -> None:
        """Connect to new APIs, and delete the sockets of APIs that have ended."""
        for path in listening_apis(self._folder):
            if path in self._apis:
                continue
            try:
                api = _Api(path)
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                pass  # it may be closing; tried again
            else:
                hello = {"version": VERSION, "owner": self._owner, "credits": self._credits, "digests": self._digests}
                api.send(encode(Kind.HELLO, hello))
                self._apis[path] = api
                self._selector.register(api.socket, selectors.EVENT_READ, api)

    def poll(self, timeout_s: float) -> bool:
        """Read what has arrived; wait for something if nothing has. Returns whether the queue has news."""
        news = False
        for key, _ in self._selector.select(0 if self._arrived else timeout_s):
            if key.data is None:
                news = True
            else:
                self._read(key.data)
        return news

    def _read(self, api: _Api) -> None:
        try:
            data = api.socket.recv(RECEIVE_BYTES)
        except OSError:
            data = b""
        if not data:
            self._lose(api)
        for frame in api.decoder.feed(data):
            if frame.kind == Kind.REQUEST:
                job, attempt = decode_request(frame)
                self._arrived[job.id] = Lease(job, attempt), api
            elif frame.kind in (Kind.CANCEL, Kind.RECALL):
                self._drop(frame)

    def _drop(self, frame: Frame) -> None:
        """Cancel a job; or return it to its API if it is not started."""
        job_id, cancelled = frame.head["id"], frame.kind == Kind.CANCEL
        if arrived := self._arrived.pop(job_id, None):
            lease, api = arrived
            answer = encode_error(job_id, lease.fence, CANCELLED) if cancelled else encode(Kind.RETURN, {"id": job_id})
            api.send(answer)
        elif cancelled and job_id in self._taken:
            self._unwanted.add(job_id)  # its computation stops at the next chunk

    def _lose(self, api: _Api) -> None:
        self._selector.unregister(api.socket)
        api.socket.close()
        del self._apis[api.path]
        self._arrived = {job_id: each for job_id, each in self._arrived.items() if each[1] is not api}
        self._unwanted.update(job_id for job_id, each in self._taken.items() if each is api)

    # -- as a JobSource --------------------------------------------------------------------------------

    @property
    def waiting(self) -> list[Lease]:
        """The jobs that have arrived and are not started, oldest first."""
        return [lease for lease, _ in self._arrived.values()]

    def start(self, leases: Sequence[Lease]) -> None:
        """Lease waiting jobs."""
        for lease in leases:
            _, api = self._arrived.pop(lease.job.id)
            self._taken[lease.job.id] = api
            if lease.fence > 1:
                api.send(encode(Kind.STARTED, {"id": lease.job.id}))

    def finish(self, lease: Lease, reply: Reply) -> bool:
        """Send a result with the next `flush`."""
        return self._end(lease, encode_reply(lease.job.id, lease.fence, reply))

    def fail(self, lease: Lease, error: JobError) -> bool:
        return self._end(lease, encode_error(lease.job.id, lease.fence, error))

    def _end(self, lease: Lease, frame: bytes) -> bool:
        self._unwanted.discard(lease.job.id)
        self._taken.pop(lease.job.id).replies.append(frame)
        return True

    def flush(self) -> None:
        """Send the results so far, those of one API in one write."""
        for api in self._apis.values():
            api.flush()

    def report(self, leases: Sequence[Lease], progress: float, error: float | None = None) -> list[bool]:
        """Send the progress. Returns for each job whether its caller still waits."""
        self.poll(0)
        wanted = [lease.job.id not in self._unwanted for lease in leases]
        for lease, is_wanted in zip(leases, wanted, strict=True):
            if is_wanted:
                known = {"id": lease.job.id, "progress": progress, "standard_error": error}
                self._taken[lease.job.id].send(encode(Kind.PROGRESS, known))
        return wanted

    def beat(self, stopping: threading.Event, lease_s: float) -> None:
        """Send signs of life until `stopping` is set. Runs in its own thread, also during a computation."""
        frame = encode(Kind.BEAT, {})
        while not stopping.wait(lease_s / BEATS_PER_LEASE):
            for api in list(self._apis.values()):
                api.send(frame)

    def close(self) -> None:
        """End all connections: the APIs give the remaining jobs to other workers."""
        for api in list(self._apis.values()):
            self._lose(api)
        self._selector.close()
