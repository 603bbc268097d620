"""What a core carries: processor time of the API, a worker and Redis for each row, put into docs/deploy.md.

Processor time and not the clock's, so that what else the machine does hardly matters.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import redis

from benchmarks.pages import put, table

PAGE = "deploy.md"
MODELS = sorted(path.parent.name for path in Path("models").glob("*/model.toml"))
PREDICT_S = 2.0
BUDGET_S = 1.5  # of the worker's processor, for each model
AT_ONCE = 32
TICKS = os.sysconf("SC_CLK_TCK")


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Service:
    api: subprocess.Popen[bytes]
    worker: subprocess.Popen[bytes]
    redis: redis.Redis
    port: int

    def spent(self) -> tuple[float, float, float]:
        """Seconds of processor so far: of the API, of the worker, of Redis."""
        told: dict[str, Any] = self.redis.info("cpu")
        return (
            seconds(self.api.pid),
            seconds(self.worker.pid),
            told["used_cpu_user"] + told["used_cpu_sys"],
        )


def seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextlib.contextmanager
def running() -> Iterator[Service]:
    api_port, redis_port = port(), port()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as started:
        kept = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", folder]
        start(started, "redis-server", "--port", str(redis_port), *kept)
        flags = ["--redis-url", f"redis://127.0.0.1:{redis_port}/0", "--state", folder, "--port", str(api_port)]
        program = [sys.executable, "-m", "whyserve.cli"]
        api = start(started, *program, "api", *flags, "--cache-mb", "0")
        worker = start(started, *program, "worker", *flags, "--nice", "0")
        with contextlib.closing(redis.Redis(port=redis_port)) as client:
            service = Service(api, worker, client, api_port)
            while not ready(service):
                time.sleep(0.1)
            yield service


def start(started: contextlib.ExitStack, *command: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    started.callback(process.wait)
    started.callback(process.terminate)
    return process


def ready(service: Service) -> bool:
    assert service.api.poll() is None
    assert service.worker.poll() is None
    try:
        return bool(httpx.get(f"http://127.0.0.1:{service.port}/health/ready").json()["workers"])
    except httpx.HTTPError:
        return False


def body(model: str, rows: int = 1) -> dict[str, Any]:
    example: dict[str, Any] = json.loads(Path("models", model, "example.json").read_text())
    return {**example, "instances": example["instances"][:1] * rows}


async def predict(service: Service, model: str, rows: int) -> float:
    """Rows a second that a core of the API predicts, sent so many at once. The client may be slower: it waits."""
    content = json.dumps(body(model, rows))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=60) as client:
        before, began, done = service.spent()[0], time.perf_counter(), 0

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() - began < PREDICT_S:
                answer = await client.post("/predict", content=content, headers={"Content-Type": "application/json"})
                answer.raise_for_status()
                done += 1

        await asyncio.gather(*(caller() for _ in range(8)))
        return done * rows / (service.spent()[0] - before)


async def explain(service: Service, model: str) -> tuple[list[float], str, int]:
    """Processor seconds of API, worker and Redis for an explanation of one row; its method; and its bytes in Redis."""
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=60, limits=limits) as client:
        answer = (await client.post("/explain", json=body(model))).raise_for_status()
        asked = done = 0
        before, memory = service.spent(), int(service.redis.info("memory")["used_memory"])

        async def caller() -> None:
            nonlocal asked, done
            while service.spent()[1] - before[1] < BUDGET_S:
                asked += 1
                (await client.post("/explain", json={**body(model), "seed": asked})).raise_for_status()
                done += 1

        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
        each = [(now - then) / done for now, then in zip(service.spent(), before, strict=True)]
        kept = (int(service.redis.info("memory")["used_memory"]) - memory) // done
        return each, answer.json()["method"], kept


def main() -> None:
    with running() as service:
        predicted = [
            [model, *(f"{asyncio.run(predict(service, model, rows)):,.0f}" for rows in (1, 100))] for model in MODELS
        ]
        put(PAGE, "predict", table(["model", "1 row per request", "100 rows per request"], predicted))
        rows = []
        for model in MODELS:
            (api, worker, queue), method, kept = asyncio.run(explain(service, model))
            carried = (f"{1 / spent:,.0f}" for spent in (worker, api, queue))
            rows.append([model, method, *carried, f"{kept / 1024:.1f}", f"{1e6 / 3600 * worker:.1f}"])
        cores = ["per core of workers", "per core of the API", "per core of Redis"]
        head = ["model", "method", *cores, "KiB per result in Redis", "worker cores for a million an hour"]
        put(PAGE, "explain", table(head, rows))


if __name__ == "__main__":
    main()
