"""Which jobs a worker computes next: every caller gets the same computing time.

A computation offers to give way between its chunks. At most two computations are started and hold memory: one of any
size, and beside it one that is not heavy and therefore ends soon.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from whyserve.jobs import Lease

# A computation of this length gives way to its own flow too.
LONG_S = 0.5
# More jobs than these are computed in two halves: the APIs send the answers of the first half, and read new requests,
# during the second. Otherwise the APIs and the worker wait for each other in turn. Each pass has a fixed cost, about
# that of eight rows of a small network.
TOGETHER = 8

Node = tuple[object, ...]
"""A caller, (name,), or one of a caller's two flows, (name, whether its jobs are heavy)."""


class Scheduler:
    """Counts the computing time of each caller, and chooses the jobs of the caller with the least.

    The two flows of a caller share the caller's time in the same way.
    """

    def __init__(self, most_jobs: int) -> None:
        """most_jobs: how many jobs may be computed together."""
        self._most_jobs = most_jobs
        self._seconds: dict[Node, float] = defaultdict(float)
        self._active: set[Node] = set()

    def choose(self, waiting: Iterable[Lease], running: Sequence[Lease] = (), ran_s: float = 0.0) -> list[Lease]:
        """The jobs to start now, with one batch key.

        running: the jobs of a computation that offers to give way. ran_s: its computing time so far.
        Returns an empty list if no job may start, or if the running computation has had less time than the others.
        """
        waiting = list(waiting)
        self._admit([*waiting, *running])
        fresh = [lease for lease in waiting if lease.fence == 1]
        repeated = [lease for lease in waiting if lease.fence > 1]
        # The jobs of one flow are computed in turn, unless the running one takes longer than expected.
        own = {lease.job.flow for lease in running} if ran_s < LONG_S else ()
        short = [x for x in (fresh if running else repeated) if not (x.job.is_heavy or x.job.flow in own)]
        # A job that a lost worker had may end this worker too, so no other job is lost with it: it is started alone,
        # and before a heavy job, because it cannot be started beside one.
        able = short if running else short or waiting
        if not able:
            return []
        first = min(able, key=self._rank)
        if running and self._rank(first) > min(map(self._rank, running)):
            return []
        if first.fence > 1:
            return [first]
        key = first.job.batch_key
        same = [lease for lease in fresh if lease is not first and lease.job.batch_key == key]
        count = 1 + len(same)
        return [first, *same][: min(self._most_jobs, count if count <= TOGETHER else (count + 1) // 2)]

    def charge(self, leases: Sequence[Lease], seconds: float) -> None:
        """Count the time of a computation. Jobs that were computed together divide it by their counted work."""
        total = sum(lease.job.work for lease in leases)
        for lease in leases:
            share = seconds * (lease.job.work / total if total else 1 / len(leases))
            for node in _nodes(lease):
                self._seconds[node] += share

    def _rank(self, lease: Lease) -> tuple[float, ...]:
        """The smallest is next."""
        return tuple(self._seconds[node] for node in _nodes(lease))

    def _admit(self, leases: Sequence[Lease]) -> None:
        """A caller that had no jobs gets as much time counted as the others have: nobody saves time for later."""
        active = {node for lease in leases for node in _nodes(lease)}
        for new in active - self._active:
            peers = {node: time for node, time in self._seconds.items() if node[:-1] == new[:-1]}
            least = min((peers[node] for node in peers if node in self._active & active), default=None)
            self._seconds[new] = max(self._seconds[new], max(peers.values(), default=0.0) if least is None else least)
        self._active = active


def _nodes(lease: Lease) -> tuple[Node, Node]:
    flow = lease.job.flow
    return flow[:1], flow
