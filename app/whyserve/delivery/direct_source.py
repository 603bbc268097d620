"""Direct delivery, the worker's side: takes jobs from every API and sends their results back.

A job here is leased by its connection: if the connection ends, its API gives the job to another worker.
"""

import selectors
import threading
from collections.abc import Sequence

from whyserve.delivery.apis import Api, Transport
from whyserve.delivery.dispatcher import BEATS_PER_LEASE
from whyserve.delivery.frames import (
    VERSION,
    Frame,
    Kind,
    Reply,
    decode_request,
    encode,
    encode_error,
    encode_reply,
)
from whyserve.jobs import JobError, Lease, job_error

CANCELLED = job_error("explanation_cancelled", "the caller does not wait any more")


class DirectSource:
    """Jobs of the APIs. One thread calls all methods but `announce` and `beat`."""

    def __init__(self, transports: Sequence[Transport], owner: str, credits: int) -> None:
        """transports: the first one is used for an API that several of them reach.

        credits: jobs that each API may send before the first of them is answered.
        """
        self._transports, self._owner, self._credits = transports, owner, credits
        self._selector = selectors.DefaultSelector()
        for transport in transports:
            self._selector.register(transport.selector, selectors.EVENT_READ, transport)
        self._digests: Sequence[str] = ()
        self._arrived: dict[str, tuple[Lease, Api]] = {}
        # Attempts in computation, with the API that gets the result; and those that no caller waits for any more.
        self._taken: dict[tuple[str, int], Api] = {}
        self._unwanted: set[tuple[str, int]] = set()
        # A frame of an API sets it. The worker clears it before it looks at the queue.
        self.queue_has_news = False

    @property
    def _apis(self) -> list[Api]:
        return [api for transport in self._transports for api in transport.apis]

    def announce(self, digests: Sequence[str]) -> None:
        """From now on the worker gets jobs of these manifests."""
        self._digests = list(digests)
        for api in self._apis:
            api.send(encode(Kind.DIGESTS, {"digests": self._digests}))

    def connect(self) -> None:
        """Connect to new APIs."""
        hello = {"version": VERSION, "owner": self._owner, "credits": self._credits, "digests": self._digests}
        for transport in self._transports:
            self._receive(transport)
            transport.connect(encode(Kind.HELLO, hello), [api.name for api in self._apis])

    def poll(self, timeout_s: float) -> None:
        """Read what has arrived; wait for something if nothing has."""
        for key, _ in self._selector.select(0 if self._arrived or self.queue_has_news else timeout_s):
            self._receive(key.data)
        if any(transport.is_invited for transport in self._transports):
            self.connect()

    def _receive(self, transport: Transport) -> None:
        for api, frames in transport.receive():
            if frames is None:
                transport.lose(api)
                self._forget(api)
            for frame in frames or ():
                if frame.kind == Kind.REQUEST:
                    job, attempt = decode_request(frame)
                    self._arrived[job.id] = Lease(job, attempt), api
                elif frame.kind in (Kind.CANCEL, Kind.RECALL):
                    self._drop(frame)
                elif frame.kind == Kind.NEWS:
                    self.queue_has_news = True

    def _drop(self, frame: Frame) -> None:
        """Cancel a job; or return it to its API if it is not started."""
        job_id, cancelled = frame.head["id"], frame.kind == Kind.CANCEL
        if cancelled:
            # A computation stops at its next chunk.
            self._unwanted.update(attempt for attempt in self._taken if attempt[0] == job_id)
        if arrived := self._arrived.pop(job_id, None):
            lease, api = arrived
            answer = encode_error(job_id, lease.fence, CANCELLED) if cancelled else encode(Kind.RETURN, {"id": job_id})
            api.send(answer)

    def _forget(self, api: Api) -> None:
        self._arrived = {job_id: each for job_id, each in self._arrived.items() if each[1] is not api}
        self._unwanted.update(attempt for attempt, each in self._taken.items() if each is api)

    # -- as a JobSource --------------------------------------------------------------------------------

    @property
    def waiting(self) -> list[Lease]:
        """The jobs that have arrived and are not started, oldest first."""
        return [lease for lease, _ in self._arrived.values()]

    def start(self, leases: Sequence[Lease]) -> None:
        """Lease waiting jobs."""
        for lease in leases:
            _, api = self._arrived.pop(lease.job.id)
            self._taken[lease.job.id, lease.fence] = api
            if lease.fence > 1:
                api.send(encode(Kind.STARTED, {"id": lease.job.id}))

    def finish(self, lease: Lease, reply: Reply) -> bool:
        """Send a result with the next `flush`."""
        return self._end(lease, encode_reply(lease.job.id, lease.fence, reply))

    def fail(self, lease: Lease, error: JobError) -> bool:
        return self._end(lease, encode_error(lease.job.id, lease.fence, error))

    def _end(self, lease: Lease, frame: bytes) -> bool:
        attempt = (lease.job.id, lease.fence)
        self._unwanted.discard(attempt)
        self._taken.pop(attempt).replies.append(frame)
        return True

    def flush(self) -> None:
        """Send the results so far, those of one API in one write."""
        for api in self._apis:
            api.flush()

    def report(self, leases: Sequence[Lease], progress: float, error: float | None = None) -> list[bool]:
        """Send the progress. Returns for each job whether its caller still waits."""
        self.poll(0)
        wanted = [(lease.job.id, lease.fence) not in self._unwanted for lease in leases]
        for lease, is_wanted in zip(leases, wanted, strict=True):
            if is_wanted:
                known = {"id": lease.job.id, "progress": progress, "standard_error": error}
                self._taken[lease.job.id, lease.fence].send(encode(Kind.PROGRESS, known))
        return wanted

    def beat(self, stopping: threading.Event, lease_s: float) -> None:
        """Send signs of life until `stopping` is set. Runs in its own thread, also during a computation."""
        frame = encode(Kind.BEAT, {})
        while not stopping.wait(lease_s / BEATS_PER_LEASE):
            for api in self._apis:
                api.send(frame)

    def close(self) -> None:
        """End all connections: the APIs give the remaining jobs to other workers."""
        for transport in self._transports:
            for api in transport.apis:
                transport.lose(api)
            transport.close()
        self._selector.close()
