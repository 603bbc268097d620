"""The time of an empty job from submission to result: `python -m benchmarks.queue [--redis-url URL]`."""

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np

from whyserve.jobs import ExplainJob, new_id
from whyserve.model.arrays import PackedArray
from whyserve.queue_protocols import JobQueue
from whyserve.queues.factory import open_queue, open_source
from whyserve.settings import Settings

DIGEST = "0" * 64
JOBS = 500
PAUSE_S = 0.001


def empty_job() -> ExplainJob:
    array = PackedArray.pack(np.ones((1, 30), dtype=np.float32))
    return ExplainJob(
        id=new_id(), model="m", version=1, digest=DIGEST, rows={"x": array}, served=array, outputs=[["a"]],
        created=time.time(),
    )  # fmt: skip


def work(settings: Settings, stop: Event) -> None:
    """A worker process that computes nothing."""
    source = open_source(settings, "worker")
    source.announce([DIGEST])
    while not stop.is_set():
        leases = source.take(16)
        for lease in leases:
            source.finish(lease, b"{}")
        if not leases:
            time.sleep(PAUSE_S)
    source.close()


async def measure(queue: JobQueue) -> list[float]:
    times = []
    for _ in range(JOBS):
        began = time.perf_counter()
        accepted = await queue.submit(empty_job())
        while not (await queue.state(accepted)).status.is_final:  # noqa: ASYNC110  # as a caller does
            await asyncio.sleep(PAUSE_S)
        times.append(time.perf_counter() - began)
    await queue.close()
    return sorted(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis-url")
    redis_url = parser.parse_args().redis_url
    with tempfile.TemporaryDirectory() as state:
        settings = Settings(state=Path(state), redis_url=redis_url)
        context = multiprocessing.get_context("spawn")  # a process with threads must not be forked
        stop = context.Event()
        worker = context.Process(target=work, args=(settings, stop))
        worker.start()

        async def run() -> list[float]:
            queue = open_queue(settings)
            while not await queue.workers():  # noqa: ASYNC110  # the worker is another process
                await asyncio.sleep(0.01)
            return await measure(queue)

        times = asyncio.run(run())
        stop.set()
        worker.join()
    kind = "Redis" if redis_url else "SQLite"
    print(f"{kind}: median {1e3 * times[JOBS // 2]:.2f} ms, 95 % within {1e3 * times[JOBS * 95 // 100]:.2f} ms")


if __name__ == "__main__":
    main()
