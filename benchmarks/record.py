"""`python -m benchmarks.record`: /predict with the decision record, compared with /predict without it.

Servers run one after another in each round, with 16 connections. A ratio is the median over all rounds of requests per
second of wall-clock time. Needs the programs of PostgreSQL.
"""

import argparse
import os
import statistics
import tempfile
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from benchmarks.predict import json_request
from benchmarks.predict_load import Load, drive
from benchmarks.predict_servers import Server, whyserve_server
from tests.record.postgres import postgres

CONNECTIONS = 16


def start(running: ExitStack, address: str | None, *, sync: bool) -> Server:
    """A server that runs until `running` ends."""
    settings = {"WHYSERVE_RECORD": address or "", "WHYSERVE_RECORD_SYNC": str(sync).lower()}
    with patch.dict(os.environ, settings):
        return running.enter_context(whyserve_server())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="Length of a run. Default: 2")
    parser.add_argument("--rounds", type=int, default=5, help="Runs per server. Default: 5")
    options: Any = parser.parse_args()
    request = json_request(1)
    with ExitStack() as running:
        folder, database = running.enter_context(tempfile.TemporaryDirectory()), running.enter_context(postgres())
        cases = {"without": (None, False)}
        for name, sync in (("", False), (", record_sync", True)):
            cases |= {f"SQLite{name}": (f"sqlite:///{folder}/{sync}.sqlite3", sync),
                      f"PostgreSQL{name}": (database.address, sync)}  # fmt: skip
        servers = {name: start(running, at, sync=sync) for name, (at, sync) in cases.items()}
        loads = {name: Load(each.port, request, CONNECTIONS) for name, each in servers.items()}
        for load in loads.values():
            drive(load, 0.5)
        rounds = [{n: drive(load, options.seconds) for n, load in loads.items()} for _ in range(options.rounds)]
    for name in cases:
        rate = statistics.median(each[name].requests_per_s for each in rounds)
        ratio = statistics.median(each[name].requests_per_s / each["without"].requests_per_s for each in rounds)
        p99 = statistics.median(each[name].p99_ms for each in rounds)
        print(f"{name:28} {rate:8,.0f} requests/s  {ratio:.2f} of without  p99 {p99:.1f} ms")


if __name__ == "__main__":
    main()
