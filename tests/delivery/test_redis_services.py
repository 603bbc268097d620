"""Two APIs and workers as processes that share nothing but Redis: workers, APIs and Redis end while callers wait."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import Api
from tests.conftest import Running
from tests.export.folders import torch_folder
from tests.faults.conftest import ASYNC, SLOW, ask, frail, metric, outcome
from tests.faults.test_direct import assert_undisturbed, start_callers, stop_callers
from tests.faults.test_worker import await_final
from tests.queues.redis_server import RedisServer
from whyserve.export.build import export_all

__all__ = ["frail"]

# tests/faults/test_direct.py has fifty kills, without Redis.
KILLS, CALLERS = 15, 16
LEASE_S = 1.0


class Machines:
    """Each process has a state folder of its own, as on a machine of its own."""

    def __init__(self, folder: Path, models: Path, artifacts: Path) -> None:
        self.folder, self._models, self._artifacts = folder, models, artifacts
        (folder / "redis").mkdir()
        self.redis = RedisServer(folder / "redis")
        self.flags = ["--redis-url", self.redis.url, "--lease-s", str(LEASE_S)]
        self.running: list[Running] = []

    def api(self, *flags: str) -> Api:
        state = self.folder / f"s{len(self.running)}"
        self.running.append(api := Api(self._artifacts, state, *self.flags, "--cache-mb", "0", *flags))
        return api

    def worker(self, models: Path | None = None, artifacts: Path | None = None) -> Running:
        folders = ["--models", str(models or self._models), "--artifacts", str(artifacts or self._artifacts)]
        state = ["--state", str(self.folder / f"s{len(self.running)}")]
        self.running.append(worker := Running(["worker", *folders, *state, *self.flags], {"CUDA_VISIBLE_DEVICES": ""}))
        return worker

    def close(self) -> None:
        for process in self.running:
            process.stop(signal.SIGKILL)
        self.redis.stop()


@pytest.fixture
def machines(tmp_path: Path, frail: tuple[Path, Path]) -> Iterator[Machines]:
    machines = Machines(tmp_path, *frail)
    yield machines
    machines.close()


def await_workers(client: httpx.Client, count: int) -> None:
    end = time.monotonic() + 60
    while client.get("/health/ready").json()["workers"] != count:
        assert time.monotonic() < end
        time.sleep(0.01)


def answered_after(callers, counts, began: float) -> float:
    """Seconds until each caller has one more answer than before."""
    while any(len(caller.times) <= count for caller, count in zip(callers, counts, strict=True)):
        assert time.monotonic() < began + 30
        time.sleep(0.005)
    return float(max(caller.times[count] for caller, count in zip(callers, counts, strict=True)) - began)


@pytest.mark.slow
def test_two_apis_and_two_workers_answer_and_nothing_is_kept(machines):
    apis, _ = [machines.api(), machines.api()], [machines.worker(), machines.worker()]
    with apis[0].client() as one, apis[1].client() as two:
        for client in (one, two):
            await_workers(client, 2)
            for number in range(5):
                answer = client.post("/explain", json=ask(float(number)))
                assert answer.status_code == 200, answer.text
                assert "Server-Timing" in answer.headers
            assert metric(client, "whyserve_queue_depth") == 0
            picture = client.post("/explain", json=ask(1.0), headers={"Accept": "image/png"})
            assert picture.status_code == 200, picture.text


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
def test_with_a_second_worker_callers_are_answered_within_a_lease(machines, number):
    api, lost, _ = machines.api(), machines.worker(), machines.worker()
    with api.client() as client:
        await_workers(client, 2)
        callers = start_callers(api)
        time.sleep(1)
        counts, began = [len(caller.times) + 1 for caller in callers], time.monotonic()
        lost.process.send_signal(number)
        took_s = answered_after(callers, counts, began)
        answered = stop_callers(callers)
        assert_undisturbed(client, answered[-200:])
    print(f"all callers answered twice {took_s:.2f} s after the signal")
    assert took_s < 2 * LEASE_S + 1


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_kills_while_callers_wait_lose_no_answer(machines):
    # Longer than the start of a worker on a busy machine.
    api, worker, late = machines.api("--explain-wait-s", "120"), machines.worker(), []
    with api.client() as client:
        await_workers(client, 1)
        callers = start_callers(api)
        for _ in range(KILLS):
            worker.process.send_signal(signal.SIGSTOP)
            end = time.monotonic() + 10
            while metric(client, "whyserve_direct_waiting") < CALLERS:
                assert time.monotonic() < end
            counts = [len(caller.times) for caller in callers]
            worker.stop(signal.SIGKILL)
            await_workers(client, 0)
            worker = machines.worker()
            await_workers(client, 1)
            late.append(answered_after(callers, counts, time.monotonic()))
        answered = stop_callers(callers)
        assert_undisturbed(client, answered[:: max(1, len(answered) // 3000)])
    print(f"{len(answered)} answers; the last caller was answered {1e3 * max(late):.0f} ms after the worker was ready")
    assert max(late) < 1


@pytest.mark.slow
def test_redis_killed_while_callers_wait(machines):
    """Without Redis, new callers are refused at once. Those that wait are answered when Redis is back."""
    api, _ = machines.api(), machines.worker()
    with api.client() as client:
        await_workers(client, 1)
        callers = start_callers(api)
        for _ in range(3):
            time.sleep(0.5)
            machines.redis.stop(signal.SIGKILL)
            time.sleep(0.5)
            machines.redis.start()
        back = time.monotonic()
        while not callers[0].answered or callers[0].answered[-1][1].status_code != 200:
            assert time.monotonic() < back + 5
            time.sleep(0.05)
        await_workers(client, 1)
        answered = stop_callers(callers)
        refused = [answer for _, answer in answered if answer.status_code != 200]
        assert {(answer.status_code, "Retry-After" in answer.headers) for answer in refused} <= {(503, True)}
        assert_undisturbed(client, [each for each in answered if each[1].status_code == 200][-200:])


@pytest.mark.slow
def test_workers_are_counted_again_after_redis_lost_its_data(machines):
    api, _ = machines.api(), machines.worker()
    with api.client() as client:
        await_workers(client, 1)
        lost = client.post("/explain", json=ask(SLOW), headers=ASYNC).json()["id"]
        machines.redis.stop(signal.SIGKILL)
        for path in (machines.folder / "redis" / "appendonlydir").iterdir():
            path.unlink()
        machines.redis.start()
        began = time.monotonic()
        while client.get("/health/ready").json()["workers"] != 1:
            assert time.monotonic() < began + 10
            time.sleep(0.02)
        # A worker registers within a lease; RETRY_S and the slow job before are not part of that.
        print(f"registered {time.monotonic() - began:.2f} s after the loss")
        assert time.monotonic() - began < LEASE_S + 1
        assert client.get(f"/explanations/{lost}").status_code == 410
        assert client.post("/explain", json=ask(1.0)).status_code == 200
        job = client.post("/explain", json=ask(2.0), headers=ASYNC).json()["id"]
        assert await_final(client, job)["status"] == "done"


@pytest.mark.slow
def test_a_wait_beyond_its_limit_goes_on_in_the_queue_and_survives_the_api(machines):
    api, other, _ = machines.api(), machines.api(), machines.worker()
    with api.client() as client, other.client() as second:
        await_workers(client, 1)
        accepted = [client.post("/explain", json=ask(SLOW, float(n)), headers={"Prefer": "wait=1"}) for n in range(2)]
        assert [answer.status_code for answer in accepted] == [202, 202], [answer.text for answer in accepted]
        ids = [answer.json()["id"] for answer in accepted]
        assert await_final(client, ids[0])["status"] == "done"
        late = client.post("/explain", json=ask(SLOW, 5.0), headers={"Prefer": "wait=1"}).json()["id"]
        assert outcome(client, late)["status"] in ("running", "queued")
        api.stop(signal.SIGKILL)
        # The lease of the API ends, and the worker computes the explanation again.
        for each in (ids[1], late):
            assert await_final(second, each)["status"] == "done"


@pytest.mark.slow
def test_a_manifest_that_no_worker_has_waits_for_one(machines, tmp_path):
    """The worker of another model does not get the request, and a request that waits too long is queued."""
    torch_folder(tmp_path / "models", "other")
    export_all(tmp_path / "models", tmp_path / "artifacts", 20, lambda _: None)
    api = machines.api()
    machines.worker(tmp_path / "models", tmp_path / "artifacts")
    with api.client() as client:
        end = time.monotonic() + 30
        while metric(client, "whyserve_workers") != 1:
            assert time.monotonic() < end
            time.sleep(0.05)
        accepted = client.post("/explain", json=ask(1.0), headers={"Prefer": "wait=1"})
        assert (accepted.status_code, accepted.json()["status"]) == (202, "queued")
        machines.worker()
        answer = client.post("/explain", json=ask(2.0), timeout=60)
        assert answer.status_code == 200, answer.text
        assert await_final(client, accepted.json()["id"])["status"] == "done"
