"""The API dies or is stopped; the queue or the disk is full."""

import os
import resource
import signal
import threading
import time

import httpx
import pytest

from tests.faults.conftest import ASYNC, SLOW, ask, metric, outcome, submit
from tests.faults.test_worker import await_final
from tests.test_service import children


def test_a_killed_api_is_replaced_and_its_explanations_are_kept(start):
    service = start()
    with service.client() as client:
        broken: list[str] = []

        def wait(key: str) -> None:
            try:
                with service.client() as own:
                    own.post("/explain", json=ask(SLOW, 2.0), headers={"Idempotency-Key": key})
            except httpx.TransportError as error:
                broken.append(type(error).__name__)

        callers = [threading.Thread(target=wait, args=(f"key-{number}",)) for number in range(3)]
        for caller in callers:
            caller.start()
        while metric(client, "whyserve_queue_depth") < 3:
            time.sleep(0.02)
        pids = children(service.process.pid)
        os.kill(pids["api"], signal.SIGKILL)
        for caller in callers:
            caller.join(60)
        assert len(broken) == 3
        for number in range(3):
            # The supervisor holds the socket: the call waits for the next API instead of being refused.
            with service.client() as own:
                answer = own.post("/explain", json=ask(SLOW, 2.0), headers={"Idempotency-Key": f"key-{number}"})
            assert answer.status_code == 200, answer.text
        with service.client() as own:
            assert metric(own, "whyserve_queue_depth") == 0
        assert children(service.process.pid)["worker"] == pids["worker"]
    service.await_line(r"the api died \(by SIGKILL\); starting another")


def test_a_stopping_service_is_not_ready_and_finishes_the_requests_in_flight(start):
    service = start("--shutdown-delay-s", "3")
    answers: list[httpx.Response] = []

    def wait() -> None:
        with service.client() as own:
            answers.append(own.post("/explain", json=ask(SLOW, 3.0)))

    with service.client() as client:
        caller = threading.Thread(target=wait)
        caller.start()
        while metric(client, "whyserve_direct_waiting") < 1:
            time.sleep(0.02)
        began = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        while client.get("/health/ready").status_code == 200:
            assert time.monotonic() - began < 3
            time.sleep(0.02)
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200
        assert client.post("/predict", json=ask(1.0)).status_code == 200
    assert service.process.wait(40) == 0, service.output
    assert time.monotonic() - began < 30
    caller.join(10)
    assert [answer.status_code for answer in answers] == [200]


@pytest.mark.slow
def test_a_full_queue_is_reported_at_once(start):
    service = start("--queue-depth", "3")
    with service.client() as client:
        jobs = [submit(client, SLOW, float(number)) for number in range(3)]
        times = []
        for number in range(20):
            body = ask(1.0, float(number))
            began = time.perf_counter()
            answer = client.post("/explain", json=body, headers=ASYNC)
            times.append(time.perf_counter() - began)
            assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
            assert int(answer.headers["Retry-After"]) >= 1
        print(f"refused in {1e3 * sorted(times)[10]:.1f} ms (median)")
        assert min(times) < 0.01  # the fastest, because the machine may be busy
        assert client.post("/predict", json=ask(1.0)).status_code == 200
        for job in jobs:
            assert await_final(client, job)["status"] == "done"


@pytest.mark.slow
def test_on_a_full_disk_explanations_are_refused_and_predictions_work(start):
    service = start()
    with service.client() as client:
        kept = submit(client, SLOW)
        while outcome(client, kept)["status"] != "running":
            time.sleep(0.02)
        pids = children(service.process.pid)
        # Like a full disk, this limit fails every write of these processes. Unlike a full disk, it can be lifted.
        for pid in pids.values():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        refused = client.post("/explain", json=ask(1.0), headers=ASYNC)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert "Retry-After" in refused.headers
        assert client.post("/predict", json=ask(1.0)).status_code == 200
        time.sleep(SLOW_DONE_S)  # by now the worker has a result that it cannot record
        for pid in pids.values():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert await_final(client, kept)["status"] == "done"
        assert metric(client, "whyserve_queue_depth") == 0  # the refused job was not stored
        assert client.post("/explain", json=ask(1.0)).status_code == 200
        assert children(service.process.pid) == pids


SLOW_DONE_S = 4.0
