"""A service at 70 % of what it can do, watched for what grows: `python -m benchmarks.soak [--minutes 10]`.

Memory, descriptors and threads of API and worker are read each second. The last quarter is held against the second:
in the first, caches fill and libraries settle.
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
# A page cache more or less is no leak; ten minutes of one would be.
MOST_GROWTH = {"memory": 1.05, "descriptors": 1.05, "threads": 1.05}
SPARE = {"memory": 4 << 20, "descriptors": 8, "threads": 3}


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
    """What grew, from the median of the second quarter to that of the last."""
    quarter = len(samples) // 4
    found = {}
    for what, most in MOST_GROWTH.items():
        before = statistics.median(getattr(each, what) for each in samples[quarter : 2 * quarter])
        after = statistics.median(getattr(each, what) for each in samples[3 * quarter :])
        if after > before * most + SPARE[what]:
            found[what] = (before, after)
    return found


def soak(
    address: str, pids: dict[str, int], request: Callable[[int], dict[str, Any]], seconds: float, callers: int = 4
) -> tuple[dict[str, list[Sample]], int, float]:
    """Samples by process, requests answered, and requests a second. Raises AssertionError at a failed request."""
    numbers, stop, faults = itertools.count(), threading.Event(), []
    answered = [0] * callers

    def call(own: int, pause: float, until: float) -> None:
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            while time.monotonic() < until and not stop.is_set():
                body = request(next(numbers))
                began = time.monotonic()
                for path in ("/predict", "/explain"):
                    status = client.post(path, json=body).status_code
                    if status != 200:
                        faults.append(f"{path} answered {status}")
                        stop.set()
                answered[own] += 2
                time.sleep(pause * (time.monotonic() - began))

    def run(pause: float, for_s: float, each_s: Callable[[], None]) -> None:
        until = time.monotonic() + for_s
        threads = [threading.Thread(target=call, args=(own, pause, until)) for own in range(callers)]
        for thread in threads:
            thread.start()
        while time.monotonic() < until and not stop.is_set():
            each_s()
            time.sleep(1)
        for thread in threads:
            thread.join()

    seen: dict[str, list[Sample]] = {role: [] for role in pids}

    def look() -> None:
        for role, pid in pids.items():
            seen[role].append(sample(pid))

    began = time.monotonic()
    # Each caller rests for 3/7 of what its call took: busy for 70 % of the time.
    run(1 / LOAD - 1, seconds, look)
    assert not faults, faults[0]
    return seen, sum(answered), sum(answered) / (time.monotonic() - began)


def children(pid: int) -> dict[str, int]:
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        command = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        found[command[command.index("whyserve.cli") + 1]] = int(child)
    return found


def report(seen: dict[str, list[Sample]]) -> bool:
    """A line for each process; whether nothing grew."""
    flat = True
    for role, samples in seen.items():
        quarter = len(samples) // 4
        for what in MOST_GROWTH:
            values = [getattr(each, what) for each in samples]
            before, after = statistics.median(values[quarter : 2 * quarter]), statistics.median(values[3 * quarter :])
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
            seen, count, rate = soak(
                address,
                children(up.pid),
                lambda number: {"model": "fclayer", "instances": [{**row, "bmi": 20 + number % 10_000 / 500}]},
                60 * minutes,
            )
        finally:
            up.send_signal(signal.SIGINT)
            up.wait()
    print(f"{count} requests in {minutes:g} minutes, {rate:.0f} a second, none failed")
    sys.exit(0 if report(seen) else 1)


if __name__ == "__main__":
    main()
