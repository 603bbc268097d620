"""Every request of a batch gets its answer, even if another one fails or is cancelled."""

import asyncio
import threading

import numpy as np
import pytest

from tests.conftest import example
from whyserve.errors import InvalidInput, Unavailable
from whyserve.model.manifest import read_manifest
from whyserve.predict.batcher import Batcher
from whyserve.predict.latency import Latency
from whyserve.predict.predictor import Predictor, load_predictor
from whyserve.predict.session import OnnxSession

PATIENCE_S = 60


class Model:
    """A model that doubles its input when it is released. It records its batches, and can fail on a given number."""

    def __init__(self, chokes_on: float | None = None) -> None:
        self.given: list[list[float]] = []
        self.may_go = threading.Event()
        self._started = threading.Event()
        self._chokes_on = chokes_on

    def __call__(self, arrays):
        column = arrays["x"][:, 0]
        self.given.append(column.tolist())
        self._started.set()
        assert self.may_go.wait(PATIENCE_S)
        if self._chokes_on in column:
            raise InvalidInput("chokes")
        return 2 * arrays["x"]

    async def is_running(self):
        await asyncio.to_thread(self._started.wait, PATIENCE_S)


def ask(batcher, *numbers):
    """A request with these numbers. It waits in the queue after one turn of the loop."""
    arrays = {"x": np.array([[number] for number in numbers], dtype=np.float32)}
    return asyncio.ensure_future(batcher(arrays, len(numbers)))


async def three_behind_one(model, most_rows=8):
    """A batcher that runs one request, and three more requests for its next batch."""
    batcher = Batcher(model, most_rows, "test")
    first = ask(batcher, 0)
    await model.is_running()
    behind = [ask(batcher, number) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    return batcher, first, behind


def numbers(answers):
    return [np.asarray(answer)[:, 0].tolist() for answer in answers]


def run(story):
    async def bounded():
        async with asyncio.timeout(PATIENCE_S):
            await story()

    asyncio.run(bounded())


def test_an_idle_model_starts_at_once_and_then_batches():
    async def story():
        model = Model()
        batcher, first, behind = await three_behind_one(model)
        model.may_go.set()
        assert numbers(await asyncio.gather(first, *behind)) == [[0], [2], [4], [6]]
        assert model.given == [[0], [1, 2, 3]]
        await batcher.close()

    run(story)


def test_batches_are_limited_and_large_requests_run_alone():
    async def story():
        model = Model()
        batcher, first, behind = await three_behind_one(model, most_rows=2)
        large = ask(batcher, 4, 5, 6)
        model.may_go.set()
        assert numbers(await asyncio.gather(first, *behind, large)) == [[0], [2], [4], [6], [8, 10, 12]]
        assert model.given == [[0], [1, 2], [3], [4, 5, 6]]
        await batcher.close()

    run(story)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_request_cancelled_before_its_batch_is_dropped(gone):
    async def story():
        model = Model()
        batcher, first, behind = await three_behind_one(model)
        behind[gone].cancel()
        stay = [number for number in (1, 2, 3) if number != gone + 1]
        await asyncio.sleep(0)
        model.may_go.set()
        answers = await asyncio.gather(first, *behind, return_exceptions=True)
        assert isinstance(answers.pop(gone + 1), asyncio.CancelledError)
        assert numbers(answers) == [[0], *([2 * number] for number in stay)]
        assert model.given == [[0], stay]
        await batcher.close()

    run(story)


def test_a_request_cancelled_during_its_batch_affects_no_other():
    async def story():
        model = Model()
        batcher = Batcher(model, 8, "test")
        alone = ask(batcher, 0)
        await model.is_running()
        alone.cancel()
        next_one = ask(batcher, 1)
        await asyncio.sleep(0)
        model.may_go.set()
        assert numbers([await next_one]) == [[2]]
        assert alone.cancelled()
        await batcher.close()

    run(story)


def test_an_error_reaches_only_its_own_request():
    async def story():
        model = Model(chokes_on=2)
        batcher, first, behind = await three_behind_one(model)
        model.may_go.set()
        answers = await asyncio.gather(first, *behind, return_exceptions=True)
        assert isinstance(answers.pop(2), InvalidInput)
        assert numbers(answers) == [[0], [2], [6]]
        assert model.given == [[0], [1, 2, 3], [1], [2], [3]]
        await batcher.close()

    run(story)


def test_close_answers_waiting_requests_and_refuses_new_ones():
    async def story():
        model = Model()
        batcher, first, behind = await three_behind_one(model)
        closing = asyncio.ensure_future(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await ask(batcher, 9)
        model.may_go.set()
        await closing
        assert numbers(await asyncio.gather(first, *behind)) == [[0], [2], [4], [6]]

    run(story)


def test_cancelled_batches_answer_every_request():
    """All tasks are cancelled, as in a forced shutdown. Each request of the batch gets an error."""

    async def story():
        model = Model()
        _, first, behind = await three_behind_one(model)
        waiting = {asyncio.current_task(), first, *behind}
        for task in asyncio.all_tasks() - waiting:
            task.cancel()
        answers = await asyncio.gather(first, *behind, return_exceptions=True)
        model.may_go.set()
        assert [type(answer) for answer in answers] == [Unavailable] * 4

    run(story)


def test_batched_answers_equal_inline_answers(artifacts):
    """One large request and many small ones at once, through one ONNX session."""
    small = load_predictor(artifacts / "breast_cancer", 1)
    manifest, digest = read_manifest(artifacts / "breast_cancer")
    large = Predictor(
        manifest,
        digest,
        OnnxSession(artifacts / "breast_cancer", manifest, 1),
        latency=Latency(fixed_s=0.01, row_s=0.001),
    )
    assert small.inline_rows > 0
    assert large.inline_rows == 0
    row = example("breast_cancer")["instances"][0]
    requests = [[{key: value * (1 + 0.01 * n) for key, value in row.items()}] * (1 + n % 3) for n in range(40)]

    async def story():
        arrays = [large.arrays(instances) for instances in requests]
        tables = await asyncio.gather(*(large.answer(each) for each in arrays))
        for table, each in zip(tables, arrays, strict=True):
            np.testing.assert_allclose(table, small.table(each), atol=1e-6)
        await large.close()

    run(story)


def test_an_overflowing_row_fails_only_its_request(artifacts):
    manifest, digest = read_manifest(artifacts / "linear")
    large = Predictor(manifest, digest, OnnxSession(artifacts / "linear", manifest, 1), latency=Latency(0.01, 0.001))
    good, bad = [{"bmi": 30.0, "bp": 90.0}], [{"bmi": 3e38, "bp": -3e38}]

    async def story():
        asked = [large.answer(large.arrays(instances)) for instances in (good, bad, good)]
        first, fault, last = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(fault, InvalidInput)
        assert fault.message.startswith("instances[0]")
        np.testing.assert_array_equal(first, last)
        await large.close()

    run(story)
