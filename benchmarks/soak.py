"""Run a service at 70 % of its capacity and look for leaks: `python -m benchmarks.soak [--minutes 10]`.

Memory, file descriptors and threads of API and worker are read every second. The last quarter of the samples is
compared with the second: in the first quarter, caches fill.
"""

import argparse
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

LOAD = 0.7
# Small growth is no leak: a leak would exceed these limits within ten minutes.
MAX_GROWTH = {"memory": 1.05, "descriptors": 1.05, "threads": 1.05}
TOLERANCE = {"memory": 4 << 20, "descriptors": 8, "threads": 3}


@dataclass(frozen=True)
class Sample:
    memory: int
    descriptors: int
    threads: int


def sample(pid: int) -> Sample:
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    return Sample(
        int(status["VmRSS"].split()[0]) << 10, len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"].split()[0])
    )


def grown(samples: list[Sample]) -> dict[str, tuple[float, float]]:
    """The resources that grew: median of the second quarter, and median of the last."""
    found = {}
    for what, most in MAX_GROWTH.items():
        before, after = medians(samples, what)
        if after > before * most + TOLERANCE[what]:
            found[what] = (before, after)
    return found


def medians(samples: list[Sample], what: str) -> tuple[float, float]:
    """The medians of the second and of the last quarter."""
    quarter, values = len(samples) // 4, [getattr(each, what) for each in samples]
    return statistics.median(values[quarter : 2 * quarter]), statistics.median(values[3 * quarter :])


def soak(
    address: str, pids: dict[str, int], request: Callable[[int], dict[str, Any]], seconds: float, callers: int = 4
) -> tuple[dict[str, list[Sample]], int, float]:
    """Samples per process, the number of answered requests, and requests per second.

    Raises AssertionError if a request fails.
    """
    numbers, stop, errors = itertools.count(), threading.Event(), []
    answered = [0] * callers

    def call(own: int, pause: float, until: float) -> None:
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            while time.monotonic() < until and not stop.is_set():
                body = request(next(numbers))
                began = time.monotonic()
                for path in ("/predict", "/explain"):
                    status = client.post(path, json=body).status_code
                    if status != 200:
                        errors.append(f"{path} answered {status}")
                        stop.set()
                answered[own] += 2
                time.sleep(pause * (time.monotonic() - began))

    samples: dict[str, list[Sample]] = {role: [] for role in pids}
    began = time.monotonic()
    # Each caller pauses for 3/7 of the time of its call, so it is busy for 70 % of the time.
    pause, until = 1 / LOAD - 1, began + seconds
    threads = [threading.Thread(target=call, args=(own, pause, until)) for own in range(callers)]
    for thread in threads:
        thread.start()
    while time.monotonic() < until and not stop.is_set():
        for role, pid in pids.items():
            samples[role].append(sample(pid))
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
        for what in MAX_GROWTH:
            before, after = medians(samples, what)
            unit = 1 << 20 if what == "memory" else 1
            print(f"{role:<8} {what:<12} {before / unit:8.1f} → {after / unit:8.1f}")
        if leaks := grown(samples):
            print(f"{role}: {', '.join(leaks)} grew")
            flat = False
    return flat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as state:
        flags = ["--port", "0", "--state", state, "--cache-mb", "1"]
        up = subprocess.Popen([sys.executable, "-m", "whyserve.cli", "up", *flags], stdout=subprocess.PIPE, text=True)
        assert up.stdout is not None
        address = next(line.split()[4] for line in up.stdout if line.startswith("whyserve is ready on"))
        try:
            row = {"bmi": 30.0, "bp": 90.0}
            samples, count, rate = soak(
                address,
                children(up.pid),
                lambda number: {"model": "fclayer", "instances": [{**row, "bmi": 20 + number % 10_000 / 500}]},
                60 * minutes,
            )
        finally:
            up.send_signal(signal.SIGINT)
            up.wait()
    print(f"{count} requests in {minutes:g} minutes, {rate:.0f} a second, none failed")
    sys.exit(0 if report(samples) else 1)


if __name__ == "__main__":
    main()
