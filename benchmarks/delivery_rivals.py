"""`make bench-delivery`, the second part: the same work done in other ways, side by side, for docs/explain-speed.md.

- /explain with `deep`, without a cache, against a FastAPI handler around shap.DeepExplainer, and against
  shap.DeepExplainer without any service: rows per second.
- /predict with 64 rows against a bare function with rows as lists: requests per second of the event loop's processor
  time.
- /predict at 70 % of its capacity, while the worker is busy and while it is idle.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.pages import put, table
from benchmarks.predict import instances, json_request, measure
from benchmarks.predict_busy import busy_and_idle
from benchmarks.predict_load import Load, drive, http_request
from benchmarks.predict_servers import MODEL, Server, deep_explainer, lists_server, load, shap_server, whyserve_server

PAGE = "explain-speed.md"


def post(path: str, **body: Any) -> bytes:
    return http_request(path, json.dumps({"model": MODEL, **body}).encode(), Content_Type="application/json")


def compared(rounds: int, ours: Callable[[], float], theirs: Callable[[], float]) -> list[float]:
    """Medians of both, and of their ratio in each round. The first round warms up."""
    pairs = [(ours(), theirs()) for _ in range(1 + rounds)][1:]
    return [
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        statistics.median(pair[0] / pair[1] for pair in pairs),
    ]


def in_process(rows: int, seconds: float) -> Callable[[], float]:
    """Rows per second of shap.DeepExplainer, called directly."""
    explainer = deep_explainer()
    x = torch.tensor(np.array([list(row.values()) for row in instances(rows)], dtype=np.float32))

    def run() -> float:
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            explainer.shap_values(x, check_additivity=False)
            count += rows
        return count / (time.perf_counter() - began)

    return run


def explanations(ours: Server, handler: Server, options: argparse.Namespace) -> str:
    def sent(server: Server, rows: int, connections: int) -> Callable[[], float]:
        request = post("/explain", instances=instances(rows), method="deep", outputs="all")
        return lambda: rows * drive(Load(server.port, request, connections), options.seconds).requests_per_s

    cases = [
        ("1 row, 1 connection; a handler with shap.DeepExplainer", sent(ours, 1, 1), sent(handler, 1, 1), "≥ 4"),
        ("1 row, 8 connections; the same handler", sent(ours, 1, 8), sent(handler, 1, 8), "≥ 12"),
        ("16 rows, 1 connection; shap.DeepExplainer in a process of its own", sent(ours, 16, 1),
         in_process(16, options.seconds), "≥ 15"),
    ]  # fmt: skip
    lines = []
    for title, one, other, bar in cases:
        mine, theirs, ratio = compared(options.rounds, one, other)
        lines.append([title, f"{theirs:,.0f}", f"{mine:,.0f}", f"{ratio:.1f}", bar])
    return table(["rows per second", "theirs", "Whyserve", "ratio", "bar"], lines)


def rate(server: Server, load: Load, options: argparse.Namespace) -> float:
    return measure(server, load, options.seconds)[0]


def batches(ours: Server, bare: Server, options: argparse.Namespace) -> str:
    rows, features = instances(64), load()[1]
    lists = [[row[feature] for feature in features] for row in rows]
    sent = {
        "named rows": (post("/predict", instances=rows), "≥ 0.45"),
        "columns": (post("/predict", columns={name: [row[name] for row in rows] for name in features}), "≥ 0.6"),
        "V1": (http_request(f"/v1/models/{MODEL}:predict", json.dumps({"instances": rows}).encode()), "≥ 0.5"),
    }
    theirs = Load(bare.port, post("/predict", instances=lists), 16)
    lines = []
    for title, (request, bar) in sent.items():
        mine = Load(ours.port, request, 16)
        found = compared(options.rounds, partial(rate, ours, mine, options), partial(rate, bare, theirs, options))
        lines.append([title, f"{found[1]:,.0f}", f"{found[0]:,.0f}", f"{found[2]:.2f}", bar])
    return table(["64 rows, 16 connections", "bare function with lists", "Whyserve", "ratio", "bar"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()
    with ExitStack() as stack:
        ours = stack.enter_context(whyserve_server("--cache-mb", "0"))
        handler, bare = stack.enter_context(shap_server()), stack.enter_context(lists_server())
        put(PAGE, "rivals", explanations(ours, handler, options))
        put(PAGE, "batches", batches(ours, bare, options))
        put(PAGE, "busy", busy_and_idle(ours.port, json_request(1), options.seconds, options.rounds))


if __name__ == "__main__":
    main()
