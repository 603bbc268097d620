"""API and database are killed again and again: no acknowledged record is lost with record_sync."""

import os
import signal
import threading
import time

import httpx
import pytest

from tests.conftest import Running, example, start_service
from tests.record.postgres import FOLDERS, Postgres, postgres
from tests.test_service import children
from whyserve.record.store import Store
from whyserve.record.verify import verify

KILLS = 8


class Callers:
    """Threads that send predictions, and keep the ids of those that were answered."""

    def __init__(self, address: str, count: int = 4) -> None:
        self._address, self._stopping = address, threading.Event()
        self.acknowledged: list[str] = []
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _call(self) -> None:
        with httpx.Client(base_url=self._address, timeout=10, trust_env=False) as client:
            while not self._stopping.is_set():
                try:
                    answer = client.post("/predict", json=example("fclayer"))
                except httpx.TransportError:
                    continue
                if answer.status_code == 200:
                    self.acknowledged.append(answer.headers["x-prediction-id"])
                else:
                    assert answer.json()["code"] == "record_unavailable", answer.text
                    time.sleep(0.02)

    def await_more(self, running: Running, count: int = 20) -> None:
        wanted, end = len(self.acknowledged) + count, time.monotonic() + 60
        while len(self.acknowledged) < wanted:
            assert time.monotonic() < end, running.output
            time.sleep(0.01)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()


def kill_api(running: Running) -> None:
    os.kill(children(running.process.pid)["api"], signal.SIGKILL)


def check(place: str, acknowledged: list[str]) -> None:
    store = Store(place)
    kept = {each.id for each in store.every("prediction")}
    assert not [each for each in acknowledged if each not in kept]
    assert not list(verify(store))
    store.close()


def kill_again_and_again(running: Running, database: Postgres | None) -> list[str]:
    running.await_line("ready on ")
    callers = Callers(running.address)
    try:
        for number in range(KILLS):
            callers.await_more(running)
            if database is None or number % 2:
                kill_api(running)
            else:
                database.kill()
                database.start()
        callers.await_more(running)
    finally:
        callers.stop()
    assert running.stop() == 0, running.output
    return callers.acknowledged


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.timeout(600)
def test_no_acknowledged_record_is_lost(kind, light, tmp_path):
    models, artifacts = light
    more = {"WHYSERVE_RECORD_SYNC": "true"}
    if kind == "sqlite":
        place = f"sqlite:///{tmp_path}/record.sqlite3"
        running = start_service(artifacts, tmp_path / "q", models=models, WHYSERVE_RECORD=place, **more)
        check(place, kill_again_and_again(running, None))
        return
    if not FOLDERS:
        pytest.skip("PostgreSQL is not installed")
    with postgres() as database:
        running = start_service(artifacts, tmp_path / "q", models=models, WHYSERVE_RECORD=database.address, **more)
        check(database.address, kill_again_and_again(running, database))
