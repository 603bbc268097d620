"""Which jobs a worker computes next."""

import itertools
from collections import defaultdict
from typing import Any

import numpy as np

from whyserve.explain.worker.scheduler import LONG_S, TOGETHER, Scheduler
from whyserve.jobs import HEAVY_S, SHARED_S, ExplainJob, Lease
from whyserve.model.arrays import PackedArray

ARRAY = PackedArray.pack(np.zeros((1, 2), np.float32))
BATCH = 4
NUMBERS = itertools.count()
HEAVY = 100.0


def lease(caller: str | None = None, work: float = 0.01, fence: int = 1, **more: Any) -> Lease:
    facts: dict[str, Any] = {"id": f"j{next(NUMBERS)}", "model": "m", "version": 1, "digest": "d", "rows": {"x": ARRAY}}
    job = ExplainJob(served=ARRAY, outputs=[["y"]], created=100.0, caller=caller, work=work, **facts, **more)
    return Lease(job, fence)


class Machine:
    """Computes what a scheduler chooses, in simulated seconds. Every caller keeps `backlog` jobs waiting."""

    def __init__(self, work: dict[str | None, float], backlog: int = 3) -> None:
        self.scheduler, self._work, self._backlog = Scheduler(BATCH), work, backlog
        self.waiting: list[Lease] = []
        self.seconds: dict[str | None, float] = defaultdict(float)
        self.started: list[str | None] = []

    def fill(self) -> None:
        for caller, work in self._work.items():
            have = sum(each.job.caller == caller for each in self.waiting)
            self.waiting += [lease(caller, work) for _ in range(self._backlog - have)]

    def compute(self, chosen: list[Lease]) -> None:
        """To the end, without giving way."""
        for each in chosen:
            self.waiting.remove(each)
            self.seconds[each.job.caller] += each.job.work
            self.started.append(each.job.caller)
        self.scheduler.charge(chosen, sum(each.job.work for each in chosen))

    def compute_heavy(self, chosen: list[Lease], chunk_s: float = 0.05) -> int:
        """With an offer to give way after each chunk. Returns how many other computations were started."""
        (heavy,) = chosen
        self.waiting.remove(heavy)
        others = 0
        for _ in range(round(heavy.job.work / chunk_s)):
            self.scheduler.charge(chosen, chunk_s)
            self.seconds[heavy.job.caller] += chunk_s
            self.fill()
            while beside := self.scheduler.choose(self.waiting, chosen):
                assert not any(each.job.is_heavy for each in beside)
                self.compute(beside)
                others += 1
                self.fill()
        return others


def test_callers_get_the_same_time_whatever_the_size_of_their_jobs():
    machine = Machine({"ann": 1.0, "bob": 0.25, "eve": 2.0})
    for _ in range(300):
        machine.fill()
        machine.compute(machine.scheduler.choose(machine.waiting))
    assert max(machine.seconds.values()) - min(machine.seconds.values()) <= 2.0
    # The smaller the jobs of a caller, the more of them.
    assert machine.started.count("bob") > 3 * machine.started.count("ann") > 5 * machine.started.count("eve")


def test_jobs_that_share_a_pass_divide_its_time_by_their_work():
    scheduler = Scheduler(BATCH)
    first = [lease("ann", 0.03), lease("bob", 0.01)]
    assert scheduler.choose(first) == first
    scheduler.charge(first, 8.0)
    # ann has had 6 seconds and bob 2: bob's jobs of one second come first, until he has had as much.
    for _ in range(4):
        ann, bob = lease("ann", 1.0), lease("bob", 1.0)
        assert scheduler.choose([ann, bob]) == [bob]
        scheduler.charge([bob], 1.0)
    assert scheduler.choose([ann, lease("bob", 1.5)]) == [ann]


def test_a_heavy_job_gives_half_of_the_time_to_the_jobs_of_another_caller():
    machine = Machine({"bob": 0.1})
    machine.waiting = [big := lease("ann", HEAVY)]
    assert machine.scheduler.choose(machine.waiting) == [big]
    others = machine.compute_heavy([big])
    assert others > 200
    assert abs(machine.seconds["bob"] - HEAVY) < 1


def test_the_heavy_jobs_of_a_caller_leave_time_for_the_caller_s_other_jobs():
    machine = Machine({None: 0.1})
    machine.waiting = [big := lease(None, HEAVY)]
    assert machine.scheduler.choose(machine.waiting) == [big]
    assert machine.compute_heavy([big]) > 200
    assert abs(machine.seconds[None] - 2 * HEAVY) < 1


def test_a_caller_that_floods_the_worker_does_not_starve_a_heavy_job():
    machine = Machine({"bob": SHARED_S}, backlog=20)
    machine.fill()
    big = lease("ann", HEAVY)
    machine.compute(machine.scheduler.choose(machine.waiting))
    machine.fill()
    machine.waiting.append(big)
    turns = [machine.scheduler.choose(machine.waiting)]
    while turns[-1] != [big]:
        machine.compute(turns[-1])
        machine.fill()
        turns.append(machine.scheduler.choose(machine.waiting))
    assert len(turns) <= 2
    machine.compute_heavy([big])
    assert machine.seconds["bob"] < HEAVY + 1


def test_nobody_saves_time_for_later():
    machine = Machine({"ann": 0.5})
    for _ in range(50):
        machine.fill()
        machine.compute(machine.scheduler.choose(machine.waiting))
    machine._work = {"ann": 0.5, "bob": 0.5}
    machine.started.clear()
    for _ in range(20):
        machine.fill()
        machine.compute(machine.scheduler.choose(machine.waiting))
    assert abs(machine.started.count("ann") - machine.started.count("bob")) <= 1


def test_jobs_that_can_share_a_pass_are_merged_whoever_sent_them():
    scheduler = Scheduler(BATCH)
    same = [lease(name) for name in ("ann", "bob", "eve", "kim", "lou")]
    other, long = lease("ann", seed=7), lease("ann", SHARED_S + 0.01)
    assert scheduler.choose([long, *same[:2]]) == [long]
    assert scheduler.choose([same[0], other, long, *same[1:]]) == same[:BATCH]
    assert scheduler.choose([other, *same[:2]]) == [other]


def test_many_jobs_that_can_share_a_pass_are_computed_in_two_halves():
    scheduler, same = Scheduler(10 * TOGETHER), [lease() for _ in range(2 * TOGETHER)]
    assert scheduler.choose(same[:TOGETHER]) == same[:TOGETHER]
    assert scheduler.choose(same[: TOGETHER + 1]) == same[: TOGETHER // 2 + 1]
    first = scheduler.choose(same)
    assert first == same[:TOGETHER]
    assert scheduler.choose(same[TOGETHER:]) == same[TOGETHER:]


def test_beside_a_computation_no_heavy_job_starts():
    scheduler = Scheduler(BATCH)
    running = [lease("ann", HEAVY)]
    assert scheduler.choose([lease("bob", HEAVY_S + 0.1)], running) == []
    small = lease("bob", HEAVY_S)
    assert scheduler.choose([lease("bob", HEAVY), small], running) == [small]


def test_the_jobs_of_one_flow_are_computed_in_turn_unless_one_takes_long():
    scheduler = Scheduler(BATCH)
    first, second, other = lease("ann"), lease("ann"), lease("bob")
    assert scheduler.choose([second], [first], 0.03) == []
    assert scheduler.choose([second, other], [first], 0.03) == [other, second]  # together, in the turn of bob
    assert scheduler.choose([second], [first], LONG_S) == [second]


def test_the_job_of_a_lost_worker_is_alone_and_never_beside_another():
    scheduler = Scheduler(BATCH)
    again, fresh, big = lease("ann", fence=2), lease("ann"), lease("ann", HEAVY)
    assert scheduler.choose([fresh, again]) == [again]
    assert scheduler.choose([again, fresh], [big]) == [fresh]
    assert scheduler.choose([again], [big]) == []
    # It comes before a heavy job, beside which it could not start.
    assert scheduler.choose([big, again]) == [again]
    assert scheduler.choose([lease("bob", HEAVY, fence=2), again]) == [again]


def test_an_idle_scheduler_chooses_nothing():
    assert Scheduler(BATCH).choose([]) == []
    assert Scheduler(BATCH).choose([], [lease("ann", HEAVY)]) == []
