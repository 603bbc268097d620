"""Hostile clients against a running service, as a table: `python -m benchmarks.attack`.

Memory is the peak of the API over idle. During each attack, /health/live is timed. "Before" is what commit 8a3ca99
did. The exit code is 1 if a bound is exceeded, an answer is unexpected or a test fails.
"""

import base64
import gzip
import http.client
import json
import multiprocessing
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, Running, example, start_service
from tests.pictures import text_of
from whyserve.settings import ApiSettings

SETTINGS = ApiSettings()
BOUND_MB = SETTINGS.cache_mb * 1.25 + SETTINGS.max_inflight_mb
LIVE_S = 1.0
# Attacks that are tests: what is sent, before, the tests.
TESTED = (
    ("Upgrade: h2c, missing or duplicate Host", "400, body read as a request", "tests/api/server/test_heads.py"),
    ("24 MB to a limit of 2 MB, behind nginx", "502", "tests/api/server/test_proxy.py"),
    ("unsafe prefixes, prefixes of other peers, other origins", "no prefixes", "tests/api/middleware/test_prefix.py"),
    ("large and endless bodies, heads, many connections", "", "tests/api/test_limits.py"),
    ("segments, fill bytes, chunks and bombs in pictures", "22 s", "tests/model/test_image.py"),
)
Answers = Counter[int]
FORK = multiprocessing.get_context("fork")


class Target:
    """A running service, its API's memory, and a process that times /health/live."""

    def __init__(self, running: Running) -> None:
        self._address = running.address
        children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
        self._api = next(
            path for pid in children if "\0api\0" in (path := Path("/proc", pid)).joinpath("cmdline").read_text()
        )
        post(self._address, example("digits"), "/explain")
        self._idle_mb = self._memory_mb("VmRSS")

    def _memory_mb(self, which: str) -> float:
        lines = self._api.joinpath("status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(which))) / 1024

    def attacked(self, attack: Callable[[str], Answers]) -> tuple[Answers, float, float]:
        """The answers, the peak over idle in MB, and the slowest answer of /health/live in seconds."""
        self._api.joinpath("clear_refs").write_text("5")
        slowest, stop = FORK.Value("d", 0.0), FORK.Event()
        # A thread would wait for those that attack.
        prober = FORK.Process(target=probe, args=(self._address, slowest, stop))
        prober.start()
        try:
            answers = attack(self._address)
        finally:
            stop.set()
            prober.join()
        return answers, self._memory_mb("VmHWM") - self._idle_mb, slowest.value


def probe(address: str, slowest: Any, stop: Any) -> None:
    while not stop.wait(0.05):
        began = time.monotonic()
        ask(address, "GET", "/health/live")
        slowest.value = max(slowest.value, time.monotonic() - began)


def ask(
    address: str, verb: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """The status of a request on a connection of its own, 0 without an answer, and the answer's Location.

    A client library would take more time of this machine than the service takes for an answer.
    """
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=120)
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request(verb, path, body, headers or {})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("location", "")
    return 0, ""


def post(address: str, body: object, path: str = "/predict", **headers: str) -> int:
    """The status; 0 without an answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(address, "POST", path, content, headers)[0]


def together(count: int, call: Callable[[], int]) -> Answers:
    found: Answers = Counter()
    threads = [threading.Thread(target=lambda: found.update([call()])) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def unread(address: str, request: bytes, count: int, seconds: float) -> Answers:
    """Connections that send a request and read the beginning of its answer only."""
    host, port = address.removeprefix("http://").rsplit(":", 1)
    peers = [socket.create_connection((host, int(port))) for _ in range(count)]
    for peer in peers:
        peer.sendall(request)
    time.sleep(seconds)
    found: Answers = Counter()
    for peer in peers:
        peer.settimeout(60)
        found[int(peer.recv(100).split()[1])] += 1
        peer.close()
    return found


def segments(address: str) -> Answers:
    whole = base64.b64decode(text_of([[0] * 8] * 8, "JPEG"))
    stuffed = whole[:2] + b"\xff\xe0\0\2" * 2_000_000 + whole[2:]
    (name,) = example("digits")["instances"][0]
    request = {"model": "digits", "instances": [{name: base64.b64encode(stuffed).decode()}]}
    return Counter([post(address, request)])


# One row of digits a thousand times, with all outputs: from the second time on, from the cache.
REPEATED = json.dumps(
    {"model": "digits", "outputs": "all", "instances": example("digits")["instances"][:1] * 1000}
).encode()


def repeated(address: str) -> Answers:
    post(address, REPEATED, "/explain")
    return together(40, lambda: post(address, REPEATED, "/explain"))


def slow_readers(address: str) -> Answers:
    head = b"POST /explain HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(REPEATED)
    return unread(address, head + REPEATED, 40, 10)


def streams(address: str) -> Answers:
    body = json.dumps({**example("digits"), "method": "permutation", "samples": 20_000}).encode()
    _, place = ask(address, "POST", "/explain", body, {"Prefer": "respond-async"})
    found = unread(address, f"GET {place}/events HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 300, 2)
    ask(address, "DELETE", place)
    return found


def blanks(address: str) -> Answers:
    body = gzip.compress(b" " * (30 << 20), 9)
    return together(60, lambda: post(address, body, **{"Content-Encoding": "gzip"}))


def pictures(address: str) -> Answers:
    (name,) = example("digits")["instances"][0]
    body = {"model": "digits", "outputs": "all", "instances": [{name: text_of([[0] * 8] * 8)}] * 1000}
    return together(8, lambda: post(address, body, "/explain", Prefer="respond-async"))


# What is sent, before, the attack, and the statuses that its answers may have.
ATTACKS: tuple[tuple[str, str, Callable[[str], Answers], set[int]], ...] = (
    ("JPEG of 8 MB of empty APP0 segments", "22 s blocked", segments, {422}),
    ("one cached row × 1000, by 40 callers", "531 MB", repeated, {200, 503}),
    ("the same, by 40 callers that do not read", "531 MB", slow_readers, {200, 503}),
    ("300 event streams", "no other request served", streams, {200, 503}),
    ("8 asynchronous jobs of 1000 pictures", "984 MB", pictures, {202}),
    ("60 gzip bodies of 30 MB of blanks", "350 MB", blanks, {400, 503}),
)


def main() -> None:
    print("| sent | before | answers | memory | /health/live |\n| --- | --- | --- | --- | --- |")
    failed = False
    with tempfile.TemporaryDirectory() as state:
        running = start_service(ROOT / "artifacts", Path(state))
        try:
            target = Target(running)
            for sent, before, attack, expected in ATTACKS:
                answers, mb, live_s = target.attacked(attack)
                failed |= mb > BOUND_MB or live_s > LIVE_S or not set(answers) <= expected
                shown = ", ".join(f"{count} × {status}" for status, count in sorted(answers.items()))
                memory = f"{mb:.0f} of {BOUND_MB:.0f} MB"
                print(f"| {sent} | {before} | {shown} | {memory} | {live_s:.2f} of {LIVE_S:.0f} s |", flush=True)
        finally:
            running.stop()
    print("\n| sent | before | tests |\n| --- | --- | --- |")
    for sent, before, path in TESTED:
        command = [sys.executable, "-m", "pytest", "-q", path]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        failed |= done.returncode != 0
        print(f"| {sent} | {before} | {done.stdout.splitlines()[-1]} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
