"""Explanations per second and their cost, against commit 8a3ca99: `python -m benchmarks.delivery`.

The older commit delivered every explanation through the queue. It is checked out into a worktree, with artifacts of its
own, and both services run side by side: each round measures both, so that other load on the machine affects both. Both
run twice: with the embedded queue, and with a Redis that writes to disk, where API and worker share nothing else.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.predict_load import Figures, Load, drive, http_request

ROOT = Path(__file__).parent.parent
BASELINE = "8a3ca99"
FOLDER = ROOT / ".whyserve" / f"baseline-{BASELINE}"
MODEL = "breast_cancer"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Service:
    """A running API with a worker. redis: the client of the Redis between them, if there is one."""

    port: int
    state: Path
    pids: dict[str, int]
    redis: Redis | None = None

    def cpu_s(self, role: str) -> float:
        if role == "redis":
            used = self.redis.info("cpu") if self.redis else {"used_cpu_sys": 0, "used_cpu_user": 0}
            return float(used["used_cpu_sys"]) + float(used["used_cpu_user"])
        fields = Path(f"/proc/{self.pids[role]}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stored_bytes(self) -> int:
        # Each version of the queue has a file with a name of its own.
        return sum(path.stat().st_size for path in self.state.glob("queue*.sqlite3*"))


def command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", module, *arguments]


def check_out(models: Path) -> Path:
    """The older commit's code, with artifacts of one model beside it."""
    code, artifacts = FOLDER / "code", FOLDER / "artifacts"
    if not code.exists():
        subprocess.run(["git", "worktree", "add", "--detach", str(code), BASELINE], cwd=ROOT, check=True)
    shutil.copytree(code / "models" / MODEL, models / MODEL)
    export(code, "app.cli", code, models, artifacts)
    return code


def export(code: Path, module: str, path: Path, models: Path, artifacts: Path) -> None:
    arguments = command(module, "export", "--models", str(models), "--artifacts", str(artifacts))
    subprocess.run(arguments, cwd=code, env={**os.environ, "PYTHONPATH": str(path)}, check=True)


@contextmanager
def service(code: Path, module: str, path: Path, *folders: str) -> Iterator[Service]:
    """Without a cache, so that each request is computed."""
    with tempfile.TemporaryDirectory() as state:
        arguments = command(module, "up", "--port", "0", "--state", state, "--cache-mb", "0", *folders)
        environment = {**os.environ, "PYTHONPATH": str(path)}
        up = subprocess.Popen(arguments, cwd=code, env=environment, stdout=subprocess.PIPE, text=True)
        assert up.stdout is not None
        try:
            ready = next(line for line in up.stdout if "is ready on" in line)
            # Read on, or a full pipe would stop the service.
            threading.Thread(target=list, args=(up.stdout,), daemon=True).start()
            port = int(ready.split()[4].rpartition(":")[2])
            yield Service(port, Path(state), children(up.pid, module))
        finally:
            up.send_signal(signal.SIGINT)
            up.wait()


@contextmanager
def redis_service(code: Path, module: str, path: Path, *folders: str) -> Iterator[Service]:
    """API and worker with state folders of their own, so that Redis is all that they share."""
    with ExitStack() as stack:
        state, redis_port, port = Path(stack.enter_context(tempfile.TemporaryDirectory())), free_port(), free_port()

        def start(arguments: list[str]) -> int:
            environment = {**os.environ, "PYTHONPATH": str(path)}
            process = subprocess.Popen(arguments, cwd=code, env=environment, stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process.pid

        (state / "redis").mkdir()
        kept = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", str(state / "redis")]
        start(["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", *kept])
        common = ["--redis-url", f"redis://127.0.0.1:{redis_port}/0", *folders]
        own = {"api": ["--port", str(port), "--cache-mb", "0"], "worker": []}
        pids = {
            role: start(command(module, role, "--state", str(state / role), *common, *flags))
            for role, flags in own.items()
        }
        await_worker(port)
        yield Service(port, state, pids, Redis(port=redis_port))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_worker(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready") as answer:
                if json.load(answer)["workers"]:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the service did not start")


def children(pid: int, module: str) -> dict[str, int]:
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        arguments = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        found[arguments[arguments.index(module) + 1]] = int(child)
    return found


def requests() -> dict[str, bytes]:
    """By kind: a prediction, and explanations with `deep` of 1 and of 64 rows."""
    example: dict[str, Any] = json.loads((ROOT / "models" / MODEL / "example.json").read_text())
    body = {**example, "method": "deep"}
    rows = [example["instances"][0]] * 64
    return {
        "predict": post("/predict", example),
        "1 row": post("/explain", body),
        "64 rows": post("/explain", {**body, "instances": rows}),
    }


def post(path: str, body: dict[str, Any]) -> bytes:
    return http_request(path, json.dumps(body).encode(), Content_Type="application/json")


@dataclass(frozen=True)
class Measured:
    figures: Figures
    api_ms: float
    worker_ms: float
    redis_ms: float
    stored: float


def measure(on: Service, request: bytes, connections: int, seconds: float) -> Measured:
    roles = (*on.pids, "redis")
    before = {role: on.cpu_s(role) for role in roles}
    stored = on.stored_bytes()
    figures = drive(Load(on.port, request, connections), seconds)
    cost = {role: 1e3 * (on.cpu_s(role) - before[role]) / figures.requests for role in roles}
    kept = (on.stored_bytes() - stored) / figures.requests
    return Measured(figures, cost["api"], cost["worker"], cost["redis"], kept)


ROWS = (
    # name, load, figure, bar: (of the baseline, or absolute)
    ("one row, 1 connection, p50, ms", ("1 row", 1), lambda m: m.figures.p50_ms, "≤ 0.3 of it"),
    ("one row, 16 connections, requests/s", ("1 row", 16), lambda m: m.figures.requests_per_s, "≥ 6 ×"),
    ("API CPU per explanation, 16 connections, ms", ("1 row", 16), lambda m: m.api_ms, "≤ 0.25"),
    ("worker CPU per explanation, 16 connections, ms", ("1 row", 16), lambda m: m.worker_ms, "≤ 0.3"),
    ("bytes on disk per request of 1 row", ("1 row", 16), lambda m: m.stored, "0"),
    ("bytes on disk per request of 64 rows", ("64 rows", 1), lambda m: m.stored, "0"),
    ("/predict, 16 connections, requests/s", ("predict", 16), lambda m: m.figures.requests_per_s, "not slower"),
)
REDIS_ROWS = (
    ("through Redis: one row, 1 connection, p50, ms", ("1 row", 1), lambda m: m.figures.p50_ms, "–"),
    ("through Redis: one row, 16 connections, requests/s", ("1 row", 16), lambda m: m.figures.requests_per_s, "≥ 4 ×"),
    ("Redis CPU per explanation, 16 connections, ms", ("1 row", 16), lambda m: m.redis_ms, "≤ 0.1"),
    ("API CPU per explanation through Redis, ms", ("1 row", 16), lambda m: m.api_ms, "–"),
    ("worker CPU per explanation through Redis, ms", ("1 row", 16), lambda m: m.worker_ms, "–"),
)


def report(rows: Sequence[Any], found: dict[tuple[str, str, int], list[Measured]], names: Sequence[str]) -> None:
    for title, (kind, connections), figure, bar in rows:
        values = [statistics.median(figure(each) for each in found[name, kind, connections]) for name in names]
        ratio = f"{values[1] / values[0]:.2f}" if values[0] else "–"
        print(f"| {title} | {values[0]:.3g} | {values[1]:.3g} | {ratio} | {bar} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    tables = ((ROWS, service), (REDIS_ROWS, redis_service))
    measured = [compare(start, sorted({load for _, load, _, _ in rows}), options) for rows, start in tables]
    print(f"\n| measure | {BASELINE} | now | ratio | bar |\n| --- | --- | --- | --- | --- |")
    for (rows, _), found in zip(tables, measured, strict=True):
        report(rows, found, (BASELINE, "now"))


def compare(
    start: Callable[..., AbstractContextManager[Service]], loads: Sequence[tuple[str, int]], options: argparse.Namespace
) -> dict[tuple[str, str, int], list[Measured]]:
    found: dict[tuple[str, str, int], list[Measured]] = defaultdict(list)
    with ExitStack() as stack:
        old_models, new_models = (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        old, artifacts = check_out(old_models), Path(stack.enter_context(tempfile.TemporaryDirectory()))
        shutil.copytree(ROOT / "models" / MODEL, new_models / MODEL)
        export(ROOT, "whyserve.cli", ROOT / "app", new_models, artifacts)
        services = {
            BASELINE: start(old, "app.cli", old, f"--models={old_models}", f"--artifacts={FOLDER / 'artifacts'}"),
            "now": start(ROOT, "whyserve.cli", ROOT / "app", f"--models={new_models}", f"--artifacts={artifacts}"),
        }
        running = {name: stack.enter_context(each) for name, each in services.items()}
        sent = requests()
        for round_ in range(1 + options.rounds):
            for kind, connections in loads:
                for name, on in running.items():
                    # The first round only warms up.
                    taken = measure(on, sent[kind], connections, options.seconds if round_ else 0.5)
                    if round_:
                        found[name, kind, connections].append(taken)
    return found


if __name__ == "__main__":
    main()
