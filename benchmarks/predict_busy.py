"""The latency of /predict while the worker computes explanations, compared with an idle worker."""

import json
import multiprocessing
import statistics
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from benchmarks.pages import table
from benchmarks.predict_load import Load, drive

QUEUED = 3  # explanations
POLL_S = 0.1
LOAD_SHARE = 0.7
ACTIVE = {"queued", "running"}


def _request(port: int, method: str, path: str, body: Any = None) -> Any:
    message = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", method=method, data=json.dumps(body).encode() if body else None,
        headers={"Prefer": "respond-async", "Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(message, timeout=30) as answer:
        return json.load(answer)


@contextmanager
def _kept_busy(port: int) -> Iterator[None]:
    """Keep one explanation running and others in the queue; cancel them at the end.

    In a process of its own: a thread would hold back the load generator, and count as latency of the service.
    """
    running, stop = multiprocessing.Event(), multiprocessing.Event()
    feeder = multiprocessing.Process(target=_feed, args=(port, running, stop))
    feeder.start()
    try:
        assert running.wait(30), "the worker started no explanation"
        yield
    finally:
        stop.set()
        feeder.join()


def _feed(port: int, running: Event, stop: Event) -> None:
    example = json.loads(Path("models/breast_cancer/example.json").read_text())
    # Each explanation takes several seconds.
    body_of_job = {**example, "instances": example["instances"] * 16, "method": "permutation", "samples": 20_000}
    seed = time.time_ns() % 2**40
    jobs: dict[str, str] = {}
    while not stop.is_set():
        jobs = {
            job: state for job in jobs if (state := _request(port, "GET", f"/explanations/{job}")["status"]) in ACTIVE
        }
        if "running" in jobs.values():
            running.set()
        for _ in range(QUEUED - len(jobs)):
            seed += 1
            jobs[_request(port, "POST", "/explain", {**body_of_job, "seed": seed})["id"]] = "queued"
        stop.wait(POLL_S)
    for job in jobs:
        _request(port, "DELETE", f"/explanations/{job}")
    _await_idle(port, jobs)


def _await_idle(port: int, jobs: Iterable[str]) -> None:
    while any(_request(port, "GET", f"/explanations/{job}")["status"] in ACTIVE for job in jobs):
        time.sleep(POLL_S)
    time.sleep(0.5)  # a cancelled explanation stops at its next chunk


def busy_and_idle(port: int, request: bytes, seconds: float, rounds: int) -> str:
    """A Markdown table with percentiles for both, and their ratios, at LOAD_SHARE of the capacity of an idle worker."""
    rows = []
    for connections in (1, 4, 16):
        drive(Load(port, request, connections), 0.3)
        capacity = drive(Load(port, request, connections), seconds).requests_per_s
        load = Load(port, request, connections, LOAD_SHARE * capacity)
        pairs = []
        for _ in range(rounds):
            idle = drive(load, seconds)
            with _kept_busy(port):
                pairs.append((idle, drive(load, seconds)))
        ratio = statistics.median(busy.p99_ms / idle.p99_ms for idle, busy in pairs)
        ratio_p50 = statistics.median(busy.p50_ms / idle.p50_ms for idle, busy in pairs)
        times = [f"{statistics.median(each[part].p99_ms for each in pairs):.2f}" for part in (0, 1)]
        rows.append([str(connections), *times, f"{ratio:.2f}", f"{ratio_p50:.2f}"])
    return table(["connections", "p99 idle, ms", "p99 explaining, ms", "p99 ratio", "p50 ratio"], rows)
