"""Callers wait for explanations while workers are killed, hang, or end with a request, and while the service stops."""

import itertools
import os
import signal
import sqlite3
import threading
import time
from typing import Any

import httpx
import pytest

from tests.conftest import Running
from tests.faults.conftest import ASYNC, FATAL, SLOW, ask, metric, outcome, submit
from tests.faults.test_worker import await_final, await_lines
from tests.test_service import children
from whyserve.queues.queue_file import QUEUE_FILE

KILLS, CALLERS = 50, 16
LEASE_S = 1.0


class Caller(threading.Thread):
    """Sends one request after the other. answered: (seed, answer); times: of the answers, by the monotonic clock."""

    def __init__(self, service: Running, seeds: "itertools.count[int]") -> None:
        super().__init__(daemon=True)
        self._service, self._seeds = service, seeds
        self.stopping = False
        self.answered: list[tuple[int, httpx.Response]] = []
        self.times: list[float] = []

    def run(self) -> None:
        with self._service.client() as client:
            while not self.stopping:
                seed = next(self._seeds)
                self.answered.append((seed, client.post("/explain", json=request(seed))))
                self.times.append(time.monotonic())


def request(seed: int) -> dict[str, Any]:
    return ask(float(seed % 600), float(seed % 7), seed=seed)


def start_callers(service: Running) -> list[Caller]:
    seeds = itertools.count()
    callers = [Caller(service, seeds) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    return callers


def stop_callers(callers: list[Caller]) -> list[tuple[int, httpx.Response]]:
    for caller in callers:
        caller.stopping = True
    for caller in callers:
        caller.join(60)
    return [each for caller in callers for each in caller.answered]


def assert_undisturbed(client: httpx.Client, answered: list[tuple[int, httpx.Response]]) -> None:
    """Every answer has the numbers of a request that nothing disturbed."""
    fresh: dict[tuple[float, float], Any] = {}
    for seed, answer in answered:
        assert answer.status_code == 200, answer.text
        row = request(seed)["instances"][0]
        key = (row["a"], row["b"])
        if key not in fresh:
            fresh[key] = client.post("/explain", json=ask(*key, seed=2**31)).json()["explanations"][0]["outputs"]
        for found, expected in zip(answer.json()["explanations"][0]["outputs"], fresh[key], strict=True):
            scale = max(abs(expected["value"]), abs(expected["base_value"]))
            assert found["attributions"] == pytest.approx(expected["attributions"], abs=1e-6 * scale)
            assert found["value"] == pytest.approx(expected["value"], abs=1e-6 * scale)


def await_waiting(client: httpx.Client, count: int) -> None:
    end = time.monotonic() + 10
    while metric(client, "whyserve_direct_waiting") < count:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_fifty_kills_while_callers_wait_lose_no_answer(start):
    service = start("--cache-mb", "0")
    late = []
    with service.client() as client:
        callers = start_callers(service)
        for _ in range(KILLS):
            pid = children(service.process.pid)["worker"]
            os.kill(pid, signal.SIGSTOP)
            await_waiting(client, CALLERS)
            counts = [len(caller.times) for caller in callers]
            os.kill(pid, signal.SIGKILL)
            while children(service.process.pid).get("worker", pid) == pid:
                time.sleep(0.005)
            while client.get("/health/ready").json()["workers"] < 1:
                time.sleep(0.005)
            ready = time.monotonic()
            end = ready + 30
            while any(len(caller.times) <= count for caller, count in zip(callers, counts, strict=True)):
                assert time.monotonic() < end, service.output
                time.sleep(0.005)
            late.append(max(caller.times[count] for caller, count in zip(callers, counts, strict=True)) - ready)
        answered = stop_callers(callers)
        assert_undisturbed(client, answered[:: max(1, len(answered) // 3000)])
    print(f"{len(answered)} answers; the last caller was answered {1e3 * max(late):.0f} ms after the worker was ready")
    assert max(late) < 1


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
def test_with_a_second_worker_callers_are_answered_within_a_lease(start, frail, tmp_path, number):
    models, artifacts = frail
    service = start("--cache-mb", "0", "--lease-s", str(LEASE_S))
    folders = ["--models", str(models), "--artifacts", str(artifacts), "--state", str(tmp_path / "q")]
    other = Running(["worker", "--lease-s", str(LEASE_S), *folders], {"CUDA_VISIBLE_DEVICES": ""})
    try:
        with service.client() as client:
            pid = children(service.process.pid)["worker"]
            while client.get("/health/ready").json()["workers"] < 2:
                time.sleep(0.02)
            time.sleep(1)  # the second worker is connected
            callers = start_callers(service)
            time.sleep(1)
            counts, began = [len(caller.times) for caller in callers], time.monotonic()
            os.kill(pid, number)
            while any(len(caller.times) < count + 2 for caller, count in zip(callers, counts, strict=True)):
                assert time.monotonic() - began < 30, service.output
                time.sleep(0.005)
            took_s = time.monotonic() - began
            if number == signal.SIGSTOP:
                os.kill(pid, signal.SIGCONT)
            answered = stop_callers(callers)
            assert_undisturbed(client, answered[-200:])
        print(f"all callers answered twice {took_s:.2f} s after the signal")
        assert took_s < 2 * LEASE_S + 1
    finally:
        assert other.stop() == 0, other.output


@pytest.mark.slow
def test_a_request_that_ends_its_worker_fails_after_three_tries_and_others_are_answered(start):
    service = start("--explain-wait-s", "120", "--cache-mb", "0")
    answers: dict[int, httpx.Response] = {}

    def call(number: int, body: dict[str, Any]) -> None:
        with httpx.Client(base_url=service.address, timeout=120, trust_env=False) as client:
            answers[number] = client.post("/explain", json=body)

    bodies = [request(1), ask(FATAL), *(request(number) for number in range(2, 6))]
    threads = [threading.Thread(target=call, args=each) for each in enumerate(bodies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(150)
    assert [answers[number].status_code for number in range(6)] == [200, 500, 200, 200, 200, 200]
    assert answers[1].json()["code"] == "worker_lost"
    await_lines(service, r"the worker died \(with exit code 9\)", 3)


@pytest.mark.slow
def test_callers_that_wait_at_a_shutdown_get_an_address_that_survives_it(start):
    service = start("--drain-s", "3")
    answers: list[httpx.Response] = []

    def call(number: float) -> None:
        with service.client() as own:
            answers.append(own.post("/explain", json=ask(SLOW, number, samples=int(1 + number))))

    with service.client() as client:
        callers = [threading.Thread(target=call, args=(float(number),)) for number in range(3)]
        for caller in callers:
            caller.start()
        await_waiting(client, 3)
        service.process.send_signal(signal.SIGTERM)
        for caller in callers:
            caller.join(30)
    assert service.process.wait(40) == 0, service.output
    assert {answer.status_code for answer in answers} <= {200, 202}
    promised = [answer.headers["Location"] for answer in answers if answer.status_code == 202]
    assert promised, [answer.status_code for answer in answers]
    again = start()
    with again.client() as client:
        for place in promised:
            assert await_final(client, place.rpartition("/")[2])["status"] == "done"


@pytest.mark.slow
def test_more_waiting_callers_than_the_depth_are_refused(start):
    service = start("--queue-depth", "3", "--cache-mb", "0")
    statuses: list[int] = []

    def call(number: float) -> None:
        with service.client() as own:
            statuses.append(own.post("/explain", json=ask(SLOW, number)).status_code)

    with service.client() as client:
        callers = [threading.Thread(target=call, args=(float(number),)) for number in range(3)]
        for caller in callers:
            caller.start()
        await_waiting(client, 3)
        refused = client.post("/explain", json=ask(1.0))
        assert (refused.status_code, refused.json()["code"]) == (503, "queue_full")
        assert int(refused.headers["Retry-After"]) >= 1
        # The queue has a depth of its own.
        assert client.post("/explain", json=ask(1.0), headers=ASYNC).status_code == 202
        for caller in callers:
            caller.join(60)
    assert statuses == [200] * 3


@pytest.mark.slow
@pytest.mark.parametrize("waits", [True, False], ids=["direct", "queue"])
def test_a_worker_that_is_told_to_stop_finishes_its_job_under_its_lease(start, tmp_path, waits):
    service = start("--lease-s", "1", "--cache-mb", "0")
    answers: list[httpx.Response] = []
    with service.client() as client:
        if waits:
            caller = threading.Thread(target=lambda: answers.append(client.post("/explain", json=ask(SLOW))))
            caller.start()
            time.sleep(1)
        else:
            job = submit(client, SLOW)
            while outcome(client, job)["status"] != "running":
                time.sleep(0.02)
        os.kill(children(service.process.pid)["worker"], signal.SIGTERM)
        service.await_line(r"the worker died \(with exit code 0\)")
        if waits:
            caller.join(30)
            # Had the lease ended, another worker would have computed it again.
            assert float(answers[0].headers["Server-Timing"].split(",")[0].removeprefix("queue;dur=")) < 1000
        else:
            assert await_final(client, job)["status"] == "done"
            db = sqlite3.connect(tmp_path / "q" / QUEUE_FILE)
            assert db.execute("SELECT deliveries FROM jobs").fetchall() == [(1,)]
            db.close()
