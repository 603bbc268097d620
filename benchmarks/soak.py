"""Run a service at 70 % of its capacity and look for leaks: `python -m benchmarks.soak [--minutes 10]`.

Default settings; three models; 1, 16 and 64 rows per request; two of three explanations are waited for, the third is
asynchronous. Memory, file descriptors and threads of API and worker, and the bytes of the queue, are read every second.
The last quarter of the samples is compared with the second: in the first quarter, caches fill. The queue may grow up
to its bound.
"""

import argparse
import contextlib
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from whyserve.settings import Settings

LOAD = 0.7
ROWS = (1, 16, 64)
MODELS = ("breast_cancer", "fclayer", "wine")
# Small growth is no leak: a leak would exceed these limits within ten minutes.
MAX_GROWTH = 1.05
TOLERANCE = {"memory": 4 << 20, "descriptors": 8, "threads": 3, "bytes": 4 << 20}
UNITS = {"memory": 1 << 20, "bytes": 1 << 20}

Sample = dict[str, int]
Read = Callable[[], Sample]


def process(pid: int) -> Read:
    """Reads a process."""

    def read() -> Sample:
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        return {
            "memory": int(status["VmRSS"].split()[0]) << 10,
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "threads": int(status["Threads"].split()[0]),
        }

    return read


def store(state: Path, bound: int) -> Read:
    """Reads the size of a state folder. Up to `bound` bytes it counts as `bound`."""

    def read() -> Sample:
        sizes = []
        for path in state.iterdir():
            with contextlib.suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        return {"bytes": max(bound, sum(sizes))}

    return read


def readers(pid: int, state: Path, keep_mb: int) -> dict[str, Read]:
    """Of the processes that `whyserve up` has started, and of its queue, with its spare pages and its -wal file."""
    processes = {role: process(child) for role, child in children(pid).items()}
    return {**processes, "store": store(state, (keep_mb + 40) << 20)}


def grown(samples: list[Sample]) -> dict[str, tuple[float, float]]:
    """The resources that grew: median of the second quarter, and median of the last."""
    found = {}
    for what in samples[0]:
        before, after = medians(samples, what)
        if after > before * MAX_GROWTH + TOLERANCE[what]:
            found[what] = (before, after)
    return found


def medians(samples: list[Sample], what: str) -> tuple[float, float]:
    """The medians of the second and of the last quarter."""
    quarter, values = len(samples) // 4, [each[what] for each in samples]
    return statistics.median(values[quarter : 2 * quarter]), statistics.median(values[3 * quarter :])


def explain(client: httpx.Client, body: dict[str, Any], asynchronous: bool) -> None:
    """Explain, and fetch the result of an asynchronous explanation. Raises AssertionError."""
    answer = client.post("/explain", json=body, headers={"Prefer": "respond-async"} if asynchronous else {})
    if not asynchronous:
        assert answer.status_code == 200, f"/explain answered {answer.status_code}"
        return
    assert answer.status_code in {200, 202}, f"/explain answered {answer.status_code}"  # 200: from the cache
    place = answer.headers.get("Location")
    while place:
        state = client.get(place)
        assert state.status_code == 200, f"{place} answered {state.status_code}"
        if state.json()["status"] == "done":
            return
        time.sleep(0.05)


def soak(
    address: str, reads: dict[str, Read], request: Callable[[int], dict[str, Any]], seconds: float, callers: int = 4
) -> tuple[dict[str, list[Sample]], int, float]:
    """Samples per process and of the queue, the number of answered requests, and requests per second.

    Raises AssertionError if a request fails.
    """
    numbers, stop, errors = itertools.count(), threading.Event(), []
    answered = [0] * callers

    def call(own: int, pause: float, until: float) -> None:
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            while time.monotonic() < until and not stop.is_set():
                number = next(numbers)
                body, began = request(number), time.monotonic()
                try:
                    status = client.post("/predict", json=body).status_code
                    assert status == 200, f"/predict answered {status}"
                    explain(client, body, asynchronous=number % 3 == 2)
                except (AssertionError, httpx.HTTPError) as error:
                    errors.append(str(error))
                    stop.set()
                answered[own] += 2
                time.sleep(pause * (time.monotonic() - began))

    samples: dict[str, list[Sample]] = {name: [] for name in reads}
    began = time.monotonic()
    # Each caller pauses for 3/7 of the time of its call, so it is busy for 70 % of the time.
    pause, until = 1 / LOAD - 1, began + seconds
    threads = [threading.Thread(target=call, args=(own, pause, until)) for own in range(callers)]
    for thread in threads:
        thread.start()
    while time.monotonic() < until and not stop.is_set():
        for name, read in reads.items():
            samples[name].append(read())
        time.sleep(1)
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    return samples, sum(answered), sum(answered) / (time.monotonic() - began)


def children(pid: int) -> dict[str, int]:
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        command = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        found[command[command.index("whyserve.cli") + 1]] = int(child)
    return found


def report(samples_of: dict[str, list[Sample]]) -> bool:
    """Print the medians of each process. Return whether nothing grew."""
    flat = True
    for role, samples in samples_of.items():
        for what in samples[0]:
            before, after = medians(samples, what)
            unit = UNITS.get(what, 1)
            print(f"{role:<8} {what:<12} {before / unit:8.1f} → {after / unit:8.1f}")
        if leaks := grown(samples):
            print(f"{role}: {', '.join(leaks)} grew")
            flat = False
    return flat


def requests(address: str) -> Callable[[int], dict[str, Any]]:
    """Makes requests of which no two are equal: every model with every number of rows."""
    first = {
        name: httpx.get(f"{address}/models/{name}", trust_env=False).json()["example"]["instances"][0]
        for name in MODELS
    }

    def request(number: int) -> dict[str, Any]:
        name, count = MODELS[number % 3], ROWS[number // 3 % 3]
        key, value = next(iter(first[name].items()))
        rows = [{**first[name], key: value * (1 + (number * 64 + row) * 1e-6)} for row in range(count)]
        return {"model": name, "instances": rows}

    return request


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as state:
        flags = ["--port", "0", "--state", state]
        up = subprocess.Popen([sys.executable, "-m", "whyserve.cli", "up", *flags], stdout=subprocess.PIPE, text=True)
        assert up.stdout is not None
        address = next(line.split()[4] for line in up.stdout if line.startswith("whyserve is ready on"))
        try:
            bound_mb = Settings.model_fields["keep_results_mb"].default
            reads = readers(up.pid, Path(state), bound_mb)
            samples, count, rate = soak(address, reads, requests(address), 60 * minutes)
        finally:
            up.send_signal(signal.SIGINT)
            up.wait()
    print(f"{count} requests in {minutes:g} minutes, {rate:.0f} a second, none failed")
    sys.exit(0 if report(samples) else 1)


if __name__ == "__main__":
    main()
