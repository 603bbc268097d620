"""What an empty job takes from its submission to its result: `python -m benchmarks.queue [--redis-url URL]`."""

import argparse
import asyncio
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from app.jobs import ExplainJob, JobQueue, JobSource, PackedArray, new_id
from app.queues.choose import open_queue, open_source
from app.settings import Settings

DIGEST = "0" * 64
JOBS = 500


def empty_job() -> ExplainJob:
    array = PackedArray.pack(np.ones((1, 30), dtype=np.float32))
    return ExplainJob(
        id=new_id(), model="m", version=1, digest=DIGEST, rows={"x": array}, served=array, outputs=[["a"]],
        created=time.time(),
    )  # fmt: skip


def work(source: JobSource, stop: threading.Event) -> None:
    while not stop.is_set():
        for lease in source.take(16, 0.2):
            source.finish(lease, b"{}")


async def measure(queue: JobQueue) -> list[float]:
    times = []
    for _ in range(JOBS):
        began = time.perf_counter()
        accepted = await queue.submit(empty_job())
        await queue.wait(accepted, 10)
        times.append(time.perf_counter() - began)
    await queue.close()
    return sorted(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis-url")
    redis_url = parser.parse_args().redis_url
    with tempfile.TemporaryDirectory() as state:
        settings = Settings(state=Path(state), redis_url=redis_url)
        source, stop = open_source(settings), threading.Event()
        source.announce([DIGEST])
        worker = threading.Thread(target=work, args=(source, stop))
        worker.start()

        async def run() -> list[float]:
            return await measure(open_queue(settings))

        times = asyncio.run(run())
        stop.set()
        worker.join()
        source.close()
    kind = "Redis Streams" if redis_url else "SQLite"
    print(f"{kind}: median {1e3 * times[JOBS // 2]:.2f} ms, 95 % within {1e3 * times[JOBS * 95 // 100]:.2f} ms")


if __name__ == "__main__":
    main()
