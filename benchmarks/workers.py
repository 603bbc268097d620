"""One, two and four workers behind one API: `python -m benchmarks.workers`, written to docs/scale.md.

Callers wait for explanations of one row, as many as keep every worker busy. The processor time of one explanation says
what more workers cost; the number of explanations per second also depends on the cores of the machine and on its other
work.
"""

import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.deployment import Service, body, running
from benchmarks.pages import put, table

MODELS = ("penguins", "breast_cancer")
WORKERS = (1, 2, 4)
SECONDS = 5.0
CALLERS = 16  # for each worker


async def load(service: Service, model: str) -> tuple[float, list[float]]:
    """Explanations per second; processor seconds of one in API, workers, Redis and these callers."""
    callers = CALLERS * len(service.workers)
    limits = httpx.Limits(max_connections=callers)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=120, limits=limits) as client:
        done, seed = 0, 0

        async def call(end: float) -> None:
            nonlocal done, seed
            while time.perf_counter() < end:
                seed += 1
                request: dict[str, Any] = {**body(model), "seed": seed}
                (await client.post("/explain", json=request)).raise_for_status()
                done += 1

        await asyncio.gather(*(call(time.perf_counter() + 1.0) for _ in range(callers)))
        before, began, done = [*service.cpu_s(), time.process_time()], time.perf_counter(), 0
        await asyncio.gather(*(call(began + SECONDS) for _ in range(callers)))
        wall, after = time.perf_counter() - began, [*service.cpu_s(), time.process_time()]
        return done / wall, [(now - then) / done for now, then in zip(after, before, strict=True)]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:  # other models would only take time to load
            shutil.copytree(Path("artifacts", model), Path(folder, model))
        os.environ["WHYSERVE_ARTIFACTS"] = folder
        measure()


def measure() -> None:
    lines, first = [], dict[str, float]()
    for workers in WORKERS:
        with running(workers) as service:
            for model in MODELS:
                rate, (api, worker, redis, caller) = asyncio.run(load(service, model))
                ratio = worker / first.setdefault(model, worker)
                costs = (f"{1e3 * seconds:.2f}" for seconds in (api, redis, caller))
                cores = rate * (api + worker + redis + caller)
                lines.append(
                    [model, str(workers), f"{1e3 * worker:.2f}", f"{ratio:.2f}", *costs, f"{rate:,.0f}", f"{cores:.2f}"]
                )
                print(*lines[-1], flush=True)
    lines.sort(key=lambda line: MODELS.index(line[0]))
    heads = ["model", "workers", "workers, ms", "of one worker's", "API, ms", "Redis, ms", "callers, ms"]
    put("scale.md", "workers", table([*heads, "per second", "cores used"], lines))


if __name__ == "__main__":
    main()
