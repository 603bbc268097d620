"""Capacity per core: processor time of the API, a worker and Redis per row, written to docs/deploy.md.

Processor time is measured, not wall-clock time, so that other load on the machine hardly matters.
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
BUDGET_S = 1.5  # processor time of the worker per model
KEPT = 20  # results that are answered 202, to measure their bytes
CONCURRENT = 32  # requests
TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Service:
    api: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]
    redis: redis.Redis
    port: int

    def cpu_s(self) -> tuple[float, float, float]:
        """Processor time so far, in seconds: API, workers, Redis."""
        used: dict[str, Any] = self.redis.info("cpu")
        workers = sum(cpu_s(worker.pid) for worker in self.workers)
        return cpu_s(self.api.pid), workers, used["used_cpu_user"] + used["used_cpu_sys"]


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextlib.contextmanager
def running(workers: int = 1) -> Iterator[Service]:
    api_port, redis_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        persistent = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", folder]
        start(stack, "redis-server", "--port", str(redis_port), *persistent)
        program, flags = [sys.executable, "-m", "whyserve.cli"], ["--redis-url", f"redis://127.0.0.1:{redis_port}/0"]
        # With state folders of their own, Redis is all that they share, as on different machines.
        own = {role: [*program, role, *flags, "--state", str(Path(folder, role))] for role in ("api", "worker")}
        api = start(stack, *own["api"], "--port", str(api_port), "--cache-mb", "0")
        started = [start(stack, *own["worker"], "--nice", "0") for _ in range(workers)]
        with contextlib.closing(redis.Redis(port=redis_port)) as client:
            service = Service(api, started, client, api_port)
            while not ready(service):
                time.sleep(0.1)
            yield service


def start(stack: contextlib.ExitStack, *command: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def ready(service: Service) -> bool:
    assert service.api.poll() is None
    assert all(worker.poll() is None for worker in service.workers)
    try:
        answer = httpx.get(f"http://127.0.0.1:{service.port}/health/ready").json()
        return bool(answer["workers"] == len(service.workers))
    except httpx.HTTPError:
        return False


def body(model: str, rows: int = 1) -> dict[str, Any]:
    example: dict[str, Any] = json.loads(Path("models", model, "example.json").read_text())
    return {**example, "instances": example["instances"][:1] * rows}


async def predict(service: Service, model: str, rows: int) -> float:
    """Rows per second of the API's processor time, with `rows` per request. The client may be slower than the API."""
    content = json.dumps(body(model, rows))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=60) as client:
        cpu_before, began, done = service.cpu_s()[0], time.perf_counter(), 0

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() - began < PREDICT_S:
                answer = await client.post("/predict", content=content, headers={"Content-Type": "application/json"})
                answer.raise_for_status()
                done += 1

        await asyncio.gather(*(caller() for _ in range(8)))
        return done * rows / (service.cpu_s()[0] - cpu_before)


async def explain(service: Service, model: str) -> tuple[list[float], str, int]:
    """For one explanation of one row: processor seconds of API, worker and Redis; its method; its bytes in Redis."""
    limits = httpx.Limits(max_connections=CONCURRENT)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=60, limits=limits) as client:
        answer = (await client.post("/explain", json=body(model))).raise_for_status()
        done, cpu_before = 0, service.cpu_s()

        async def caller() -> None:
            nonlocal done
            while service.cpu_s()[1] - cpu_before[1] < BUDGET_S:
                (await client.post("/explain", json=body(model))).raise_for_status()
                done += 1

        await asyncio.gather(*(caller() for _ in range(CONCURRENT)))
        each = [(now - then) / done for now, then in zip(service.cpu_s(), cpu_before, strict=True)]
        return each, answer.json()["method"], stored_bytes(service, model)


def stored_bytes(service: Service, model: str) -> int:
    """The bytes that Redis keeps of a result that was answered 202."""
    used = []
    with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=60) as client:
        for _ in range(1 + KEPT):
            sent = client.post("/explain", json=body(model), headers={"Prefer": "respond-async"}).raise_for_status()
            while client.get(sent.headers["Location"]).json()["status"] != "done":
                time.sleep(0.01)
            used.append(int(service.redis.info("memory")["used_memory"]))
    # The first one also creates what is kept once.
    return (used[-1] - used[0]) // KEPT


def main() -> None:
    with running() as service:
        predictions = [
            [model, *(f"{asyncio.run(predict(service, model, rows)):,.0f}" for rows in (1, 100))] for model in MODELS
        ]
        put(PAGE, "predict", table(["model", "1 row per request", "100 rows per request"], predictions))
        rows = []
        for model in MODELS:
            (api, worker, queue), method, stored = asyncio.run(explain(service, model))
            per_core = (f"{1 / each:,.0f}" for each in (worker, api, queue))
            rows.append([model, method, *per_core, f"{stored / 1024:.1f}", f"{1e6 / 3600 * worker:.1f}"])
        cores = ["per core of workers", "per core of the API", "per core of Redis"]
        head = ["model", "method", *cores, "KiB per kept result", "worker cores for a million an hour"]
        put(PAGE, "explain", table(head, rows))


if __name__ == "__main__":
    main()
