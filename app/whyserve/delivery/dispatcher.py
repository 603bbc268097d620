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


class WorkerLink:
    """One worker.

    held: the jobs that the worker has, by id; None for a cancelled job that the worker has not given up yet.
    silent_checks: the calls of `Dispatcher.check` since the last frame of the worker.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.owner, self.credits, self.digests = "", 0, frozenset[str]()
        self.held: dict[str, Ticket | None] = {}
        self.silent_checks = 0

    def held_of(self, flow: object) -> int:
        """How many jobs of a flow the worker has."""
        return sum(ticket is not None and ticket.job.flow == flow for ticket in self.held.values())

    def takes(self, job: ExplainJob) -> bool:
        """Whether the job may be sent. Beyond the credits, each flow may have one job: no other flow keeps it out."""
        return job.digest in self.digests and (len(self.held) < self.credits or not self.held_of(job.flow))


class Dispatcher:
    """One event loop owns it."""

    def __init__(self, depth: int) -> None:
        """depth: the largest number of jobs that are not final."""
        self._depth = depth
        # False while no other workers than the connected ones can connect.
        self.reaches_workers = True
        self._links: list[WorkerLink] = []
        self._tickets: dict[str, Ticket] = {}
        # Jobs that no worker has, by the digest of their manifest and by their flow.
        self._waiting: dict[tuple[str, object], deque[Ticket]] = defaultdict(deque)
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
        able = [link for link in self._links if link.takes(job)]
        if able and (job.digest, job.flow) not in self._waiting:
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
            self._stop_waiting(ticket)
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
        elif frame.kind == Kind.RETURN:
            self._returned(link, head)
        elif ticket := link.held.get(head["id"]):
            if frame.kind == Kind.STARTED:
                ticket.started = True
            elif frame.kind == Kind.PROGRESS:
                ticket.progress, ticket.standard_error = head["progress"], head["standard_error"]
                self._relieve(link)

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
        # The first time, any of the worker's jobs may have ended it. From then on, workers compute the job alone, and
        # the attempt counts only if its computation had begun.
        if ticket.tries == 0 or ticket.started:
            ticket.tries += 1
        if ticket.tries >= MAX_DELIVERIES:
            self._settle(ticket, WORKER_LOST)
        else:
            self._wait(ticket)

    # -- to the workers --------------------------------------------------------------------------------

    def _wait(self, ticket: Ticket) -> None:
        ticket.link, ticket.place = None, next(self._places)
        self._waiting[ticket.job.digest, ticket.job.flow].append(ticket)

    def _stop_waiting(self, ticket: Ticket) -> None:
        line = self._waiting[ticket.job.digest, ticket.job.flow]
        line.remove(ticket)
        if not line:
            del self._waiting[ticket.job.digest, ticket.job.flow]

    def _hand_out(self, link: WorkerLink) -> None:
        """Send waiting jobs as far as the worker's credits go, of the flow with the fewest jobs there."""
        while heads := [line[0] for line in self._waiting.values() if link.takes(line[0].job)]:
            ticket = min(heads, key=lambda ticket: (link.held_of(ticket.job.flow), ticket.place))
            self._stop_waiting(ticket)
            self._send(ticket, link)

    def _relieve(self, busy: WorkerLink) -> None:
        """Recall half of the jobs of a worker in a long computation, the last ones, if another worker has none."""
        idle = next((link for link in self._links if not link.held), None)
        if idle is None:
            return
        tickets = list(busy.held.values())
        for ticket in tickets[max(1, len(tickets) // 2) :]:
            if ticket is not None and ticket.job.digest in idle.digests:
                busy.transport.send(encode(Kind.RECALL, {"id": ticket.job.id}))

    def _returned(self, link: WorkerLink, head: dict[str, Any]) -> None:
        """A worker has not started this job: send it to the worker with the fewest jobs."""
        if ticket := link.held.pop(head["id"], None):
            ticket.attempt -= 1
            self._wait(ticket)
        for other in sorted(self._links, key=lambda other: len(other.held)):
            self._hand_out(other)

    def _send(self, ticket: Ticket, link: WorkerLink) -> None:
        if ticket.job.deadline is not None and ticket.job.deadline < time.time():
            self._settle(ticket, TIMED_OUT)
            return
        ticket.attempt += 1
        ticket.link, ticket.started = link, False
        link.held[ticket.job.id] = ticket
        link.transport.send(encode_request(ticket.job, ticket.attempt))
