"""Direct delivery, the API's side: which worker gets which job, and what happens when a worker is lost.

Nothing is written to disk. If the API ends, its callers repeat their requests.
"""

import itertools
import logging
import time
from collections import defaultdict, deque
from typing import Any, Protocol

from whyserve.delivery.frames import VERSION, Frame, Kind, Reply, decode_error, decode_reply, encode, encode_request
from whyserve.delivery.ticket import Ticket
from whyserve.errors import QueueFull, Unavailable
from whyserve.jobs import ExplainJob, JobError
from whyserve.queue_protocols import MAX_DELIVERIES, TIMED_OUT, WORKER_LOST

log = logging.getLogger("whyserve.delivery")

# A worker sends a sign of life three times per lease.
BEATS_PER_LEASE = 3


class Transport(Protocol):
    """A connection to one worker."""

    def send(self, frame: bytes) -> None: ...

    def end(self) -> None:
        """Close the connection. `Dispatcher.lost` is called for its link, at once or afterwards."""
        ...


class WorkerLink:
    """One worker.

    held: the jobs that the worker has, by id; None for a cancelled job that the worker has not given up yet.
    alone: the worker has a job that must not be computed together with others.
    silent_checks: the calls of `Dispatcher.check` since the last frame of the worker.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.owner, self.credits, self.digests = "", 0, frozenset[str]()
        self.held: dict[str, Ticket | None] = {}
        self.alone, self.silent_checks = False, 0

    @property
    def is_free(self) -> bool:
        return not self.alone and len(self.held) < self.credits


class Dispatcher:
    """One event loop owns it."""

    def __init__(self, depth: int) -> None:
        """depth: the largest number of jobs that are not final."""
        self._depth = depth
        # False while no other workers than the connected ones can connect.
        self.reaches_workers = True
        self._links: list[WorkerLink] = []
        self._tickets: dict[str, Ticket] = {}
        # Jobs that no worker has, by the digest of their manifest.
        self._waiting: dict[str, deque[Ticket]] = defaultdict(deque)
        self._places = itertools.count()

    def __len__(self) -> int:
        """The number of jobs that are not final."""
        return len(self._tickets)

    def serves(self, digest: str) -> bool:
        """Whether a worker with this manifest is connected."""
        return any(digest in link.digests for link in self._links)

    def submit(self, job: ExplainJob) -> Ticket:
        """Send a job to a worker now or as soon as one has a credit for it. Raises QueueFull, Unavailable."""
        if len(self._tickets) >= self._depth:
            waiting = f"{len(self._tickets)} explanations are not finished"
            raise QueueFull(f"the queue is full: {waiting}; try again later", retry_after_s=1)
        if not self.reaches_workers and not self.serves(job.digest):
            raise Unavailable("no worker can be reached now; try again later", retry_after_s=1)
        ticket = self._tickets[job.id] = Ticket(job)
        able = [link for link in self._links if link.is_free and job.digest in link.digests]
        if able and not self._waiting[job.digest]:
            self._send(ticket, min(able, key=lambda link: len(link.held)))
        else:
            self._wait(ticket)
        return ticket

    def ring(self) -> None:
        """Tell all workers that there is a new job in the queue."""
        for link in self._links:
            link.transport.send(encode(Kind.NEWS, {}))

    def cancel(self, ticket: Ticket) -> None:
        """Drop a job. A worker that computes it stops at its next chunk."""
        if self._tickets.pop(ticket.job.id, None) is None:
            return
        if ticket.link is None:
            self._waiting[ticket.job.digest].remove(ticket)
        else:
            ticket.link.held[ticket.job.id] = None
            ticket.link.transport.send(encode(Kind.CANCEL, {"id": ticket.job.id}))

    # -- from the workers ------------------------------------------------------------------------------

    def received(self, link: WorkerLink, frame: Frame) -> None:
        link.silent_checks = 0
        if frame.kind == Kind.BEAT:
            return
        head = frame.head
        if frame.kind in (Kind.REPLY, Kind.ERROR):
            self._final(link, frame, head)
        elif frame.kind in (Kind.HELLO, Kind.DIGESTS):
            self._introduced(link, head)
        elif ticket := link.held.get(head["id"]):
            if frame.kind == Kind.STARTED:
                ticket.started = True
            elif frame.kind == Kind.PROGRESS:
                ticket.progress, ticket.standard_error = head["progress"], head["standard_error"]

    def _introduced(self, link: WorkerLink, head: dict[str, Any]) -> None:
        if head.get("version", VERSION) != VERSION:
            log.warning("a worker of another version of Whyserve was refused; its frames have version %d, this program "
                        "needs %d; stop one of the two", head["version"], VERSION)  # fmt: skip
            link.transport.end()
            return
        if "credits" in head:
            link.owner, link.credits = head["owner"], head["credits"]
            self._links.append(link)
        link.digests = frozenset(head["digests"])
        self._hand_out(link)

    def _final(self, link: WorkerLink, frame: Frame, head: dict[str, Any]) -> None:
        ticket = link.held.pop(head["id"], None)
        link.alone = link.alone and bool(link.held)
        # The answer to an attempt that is not the last one is late.
        if ticket is not None and head["attempt"] == ticket.attempt:
            is_reply = frame.kind == Kind.REPLY
            self._settle(ticket, decode_reply(frame, head) if is_reply else decode_error(head))
        self._hand_out(link)

    def _settle(self, ticket: Ticket, outcome: Reply | JobError) -> None:
        del self._tickets[ticket.job.id]
        ticket.settle(outcome)

    def check(self) -> None:
        """End the connections of silent workers. Called BEATS_PER_LEASE times per lease."""
        for link in list(self._links):
            # Checks are counted, and not seconds: after a pause of this process, the workers get the time to be heard.
            link.silent_checks += 1
            if link.silent_checks > BEATS_PER_LEASE:
                link.transport.end()

    def lost(self, link: WorkerLink) -> None:
        """The worker has ended, or gives no sign of life: other workers get its jobs."""
        if link in self._links:
            self._links.remove(link)
        held, link.held = [ticket for ticket in link.held.values() if ticket], {}
        for ticket in held:
            self._put_back(ticket)
        for other in self._links:
            self._hand_out(other)

    def _put_back(self, ticket: Ticket) -> None:
        # The first time, any of the worker's jobs may have ended it. From then on the job is sent alone, and the
        # attempt counts only if its computation had begun.
        if ticket.tries == 0 or ticket.started:
            ticket.tries += 1
        if ticket.tries >= MAX_DELIVERIES:
            self._settle(ticket, WORKER_LOST)
        else:
            self._wait(ticket)

    # -- to the workers --------------------------------------------------------------------------------

    def _wait(self, ticket: Ticket) -> None:
        ticket.link, ticket.place = None, next(self._places)
        self._waiting[ticket.job.digest].append(ticket)

    def _hand_out(self, link: WorkerLink) -> None:
        """Send the oldest waiting jobs of the worker's manifests, as far as its credits go."""
        while link.is_free:
            lines = [line for digest in link.digests if (line := self._waiting.get(digest))]
            if not lines:
                return
            line = min(lines, key=lambda line: line[0].place)
            if line[0].tries and link.held:
                return  # this job needs the worker for itself
            self._send(line.popleft(), link)

    def _send(self, ticket: Ticket, link: WorkerLink) -> None:
        if ticket.job.deadline is not None and ticket.job.deadline < time.time():
            self._settle(ticket, TIMED_OUT)
            return
        ticket.attempt += 1
        ticket.link, ticket.started = link, False
        link.held[ticket.job.id], link.alone = ticket, ticket.tries > 0
        link.transport.send(encode_request(ticket.job, ticket.attempt))
