"""Statistics of a model: answers, failures, runs and waiting times."""

import asyncio

import numpy as np
import pytest

from whyserve.errors import InvalidInput
from whyserve.model.manifest import read_manifest
from whyserve.predict.latency import Latency
from whyserve.predict.predictor import Predictor
from whyserve.predict.session import OnnxSession
from whyserve.predict.statistics import Statistics

ROWS = np.array([[30.0, 90.0]], np.float32)


@pytest.fixture
def batched(artifacts):
    """`linear` with a latency that forces batches of at most eight rows."""
    folder = artifacts / "linear"
    manifest, digest = read_manifest(folder)
    latency = Latency(fixed_s=0.0, row_s=0.0062)
    return Predictor(manifest, digest, OnnxSession(folder, manifest, 1), latency=latency)


def test_output_types(batched):
    assert batched.output_dtype == np.float32


async def gathered(predictor, requests):
    answers = await asyncio.gather(
        *(predictor.answer({"x": np.repeat(ROWS, rows, axis=0)}) for rows in requests), return_exceptions=True
    )
    await predictor.close()
    return answers


def test_batched_requests_are_counted_once(batched):
    requests = [1, 2, 3, 4, 5, 6]
    answers = asyncio.run(gathered(batched, requests))
    known = batched.statistics
    assert [len(answer) for answer in answers] == requests
    assert known.rows == 21
    assert known.succeeded.count == known.waited.count == 6
    batches = known.batches()
    assert sum(rows * each.count for rows, each in batches.items()) == 21
    assert max(batches) <= 8
    assert sum(each.count for each in batches.values()) < 6
    # A request's time is its wait and its batch.
    assert known.succeeded.ns >= known.waited.ns > 0
    assert all(each.ns > 0 for each in batches.values())


def test_a_failure_is_not_counted_as_success(batched):
    async def asked():
        with pytest.raises(InvalidInput):
            await batched.answer({"x": np.full((3, 2), 3e38, np.float32)})
        await batched.close()

    asyncio.run(asked())
    known = batched.statistics
    assert (known.failed.count, known.succeeded.count, known.rows) == (1, 0, 0)
    assert known.last_s == 0


def test_batches_returns_a_copy():
    statistics = Statistics()
    statistics.ran(4, 10)
    shown = statistics.batches()
    statistics.ran(4, 10)
    assert (shown[4].count, statistics.batches()[4].count) == (1, 2)
