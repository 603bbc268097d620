"""Jobs that are computed between the chunks of others: at most two computations at a time, and no result changes."""

import asyncio
import json
import shutil
import threading
import time
from typing import Any

import numpy as np
import pytest

from tests.conftest import MODELS
from tests.queues.conftest import final
from whyserve.delivery.direct_source import DirectSource
from whyserve.delivery.unix_apis import UnixApis
from whyserve.explain.models.registry import ModelRegistry
from whyserve.explain.worker import worker as worker_module
from whyserve.explain.worker.batch import compute
from whyserve.explain.worker.worker import Worker
from whyserve.jobs import HEAVY_S, ExplainJob, JobState
from whyserve.queue_protocols import JobQueue, JobSource
from whyserve.queues.store import Store
from whyserve.queues.terms import Terms

TERMS = Terms(depth=1000, keep_s=60.0, lease_s=5.0, keep_bytes=1 << 28)


@pytest.fixture(scope="module")
def models(artifacts, tmp_path_factory):
    """The models of a worker, only breast_cancer."""
    folder = tmp_path_factory.mktemp("artifacts")
    shutil.copytree(artifacts / "breast_cancer", folder / "breast_cancer")
    return ModelRegistry(MODELS, folder, 256 << 20)


def explain(models: ModelRegistry, number: int, caller: str, **more: Any) -> ExplainJob:
    """A job for one row of the background."""
    (digest,) = models.digests[:1]
    model = models.get(digest)
    assert model is not None
    arrays = {name: x[number : number + 1].numpy() for name, x in model.background.items()}
    served = np.array([[0.25, 0.75]], np.float32)[:, : model.spec.width]
    more = {"caller": caller, "method": "permutation", **more}
    return ExplainJob.of(model.spec, digest, arrays, served, [[model.outputs.all[0]]], **more)


async def running(queue: JobQueue, job: ExplainJob) -> None:
    for _ in range(1000):
        if (await queue.state(job.id)).status != "queued":
            return
        await asyncio.sleep(0.01)
    raise AssertionError("no worker takes the job")


def results(state_folder, models, *waves: list[ExplainJob]) -> dict[str, JobState]:
    """The final states of jobs that one worker computes. Each wave is submitted when the one before is running."""
    owner = "w1"
    source = JobSource(Store(state_folder, TERMS), owner)
    direct = DirectSource([UnixApis(state_folder)], owner, 4)
    worker = Worker(source, direct, models, batch_jobs=4, lease_s=5.0, alive=lambda: None)
    thread = threading.Thread(target=worker.run)

    async def scene() -> dict[str, JobState]:
        queue = JobQueue(Store(state_folder, TERMS))
        try:
            for wave in waves:
                for job in wave:
                    await queue.submit(job)
                await running(queue, wave[0])
            jobs = [job for wave in waves for job in wave]
            return {job.id: await final(queue, job.id, 100) for job in jobs}
        finally:
            await queue.close()

    thread.start()
    try:
        return asyncio.run(scene())
    finally:
        worker.stop()
        thread.join()


def numbers(result: bytes | None) -> Any:
    assert result is not None
    return json.loads(result)["explanations"][0]["outputs"][0]


def test_two_computations_at_most_and_the_same_results_as_alone(models, tmp_path, monkeypatch):
    depth, most, together = [0], [0], [0]

    def counted(jobs, *arguments):
        depth[0] += 1
        most[0], together[0] = max(most[0], depth[0]), max(together[0], len(jobs))
        try:
            return compute(jobs, *arguments)
        finally:
            depth[0] -= 1

    monkeypatch.setattr(worker_module, "compute", counted)
    heavy = [explain(models, n, "ann", samples=150, work=HEAVY_S + 1) for n in range(3)]
    small = [explain(models, n, ("bob", "eve", "ann")[n % 3], samples=3, seed=n // 6) for n in range(24)]
    kernels = [explain(models, n, name, method="kernel", work=1.0) for n, name in enumerate(("bob", "eve"))]
    began = time.monotonic()
    states = results(tmp_path, models, [heavy[0]], [*small, *kernels, *heavy[1:]])
    assert {state.status for state in states.values()} == {"done"}
    assert time.monotonic() - began < 60
    assert most == [2]
    assert together[0] > 1
    (model,) = (models.get(digest) for digest in models.digests[:1])
    for job in (*heavy, *small, *kernels):
        (alone,) = compute([job], model, lambda _: True)
        found, expected = numbers(states[job.id].result), numbers(alone.json)
        if job.work > 0.1:  # computed alone, between the chunks of others
            assert found == expected
        scale = max(abs(value) for value in expected["attributions"].values())
        assert found["attributions"] == pytest.approx(expected["attributions"], abs=1e-6 * scale)


def test_kernel_runs_between_the_chunks_of_kernel(models, tmp_path):
    """Both use the random generator of numpy. The one that began first must not notice the other."""
    outer = explain(models, 0, "ann", method="kernel", samples=20_000, work=HEAVY_S + 1)
    inner = explain(models, 1, "bob", method="kernel", samples=300)
    states = results(tmp_path, models, [outer], [inner])
    (model,) = (models.get(digest) for digest in models.digests[:1])
    for job in (outer, inner):
        (alone,) = compute([job], model, lambda _: True)
        assert numbers(states[job.id].result) == numbers(alone.json)
