"""The writer of one process: groups of decisions, a database that restarts, and calls between them."""

import asyncio

import numpy as np
import pytest

from tests.record.conftest import new_database
from tests.record.test_content import ROW, SPEC
from whyserve.errors import RecordUnavailable
from whyserve.record.content import Decision
from whyserve.record.store import Store
from whyserve.record.verify import verify
from whyserve.record.writer import Recorder
from whyserve.settings import ApiSettings


def decision() -> Decision:
    arrays = {"x": np.array([list(ROW.values())], np.float32)}
    return Decision(SPEC.model_copy(update={"record": type(SPEC.record)()}), "digest", lambda x: x, b"{}", arrays)


async def keep(recorder: Recorder) -> str:
    made = await recorder.keep(decision(), b"{}", caller="me", request_id="r", path="/predict")
    assert made is not None
    return made


async def opened(address: str, *, sync: bool) -> Recorder:
    recorder = Recorder(ApiSettings(record=address, record_sync=sync))
    await recorder.start()
    return recorder


@pytest.fixture
def commits(monkeypatch):
    """The number of records of each commit of decisions."""
    sizes: list[int] = []
    real = Store.append

    def append(self, chain, records):
        sizes.append(len(records))
        real(self, chain, records)

    monkeypatch.setattr(Store, "append", append)
    return sizes


def test_decisions_that_come_together_wait_for_one_commit(address, commits):
    async def rounds() -> None:
        recorder = await opened(address, sync=True)
        for _ in range(3):
            made = await asyncio.gather(*(keep(recorder) for _ in range(16)))
            kept = await recorder.run(lambda store, _: {each.id for each in store.every("prediction")})
            assert kept >= set(made)
        await asyncio.gather(*(keep_one_by_one(recorder) for _ in range(4)))
        await recorder.close()

    async def keep_one_by_one(recorder: Recorder) -> None:
        for _ in range(10):
            await keep(recorder)

    asyncio.run(rounds())
    assert commits[:3] == [16] * 3
    # Callers that send their next decision when the one before is on disk stay together.
    assert commits[3:] == [4] * 10
    store = Store(address)
    assert not list(verify(store))
    store.close()


def test_without_sync_a_reader_finds_what_was_answered_before(address, commits):
    async def look() -> None:
        recorder = await opened(address, sync=False)
        made = [await keep(recorder) for _ in range(5)]
        found = await recorder.run(lambda store, _: store.find(made[-1]))
        assert found.head["id"] == made[-1]
        last = await keep(recorder)
        await recorder.close()
        store = Store(address)
        assert store.find(last).head["id"] == last
        store.close()

    asyncio.run(look())
    assert commits == [5, 1]


@pytest.mark.slow
def test_nobody_notices_a_restart_of_the_database(database):
    async def live() -> None:
        recorder = await opened(new_database(database), sync=True)
        first = await keep(recorder)
        database.stop()
        database.start()
        second = await keep(recorder)
        database.stop()
        database.start()
        assert (await recorder.run(lambda store, _: store.find(first))).head["id"] == first
        database.stop()
        for _ in range(2):
            with pytest.raises(RecordUnavailable):
                await keep(recorder)
        with pytest.raises(RecordUnavailable):
            await recorder.run(lambda store, _: store.find(first))
        database.start()
        for _ in range(100):
            try:
                third = await keep(recorder)
                break
            except RecordUnavailable:
                await asyncio.sleep(0.05)
        heads = await recorder.run(lambda store, _: store.heads(limit=10))
        assert [each["id"] for each in heads] == [first, second, third]
        assert not await recorder.run(lambda store, _: list(verify(store)))
        await recorder.close()

    asyncio.run(live())
