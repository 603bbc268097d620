"""`make bench-predict`: compare /predict with a bare ASGI function and a FastAPI handler, for docs/predict-speed.md.

Every server has one event loop of its own, and all receive the same rows, one server after another in each round. A
ratio is the median of the ratios of all rounds. It counts the processor time of the server's process only, so other
load on the machine, and the load generator, are not in it.
"""

import argparse
import json
import statistics
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.pages import put, table
from benchmarks.predict_busy import busy_and_idle
from benchmarks.predict_load import Load, drive, http_request
from benchmarks.predict_servers import MODEL, Server, bare_server, plain_server, whyserve_server

PAGE = "predict-speed.md"
SERVERS = {"bare": bare_server, "fastapi": plain_server, "whyserve": whyserve_server}
CASES = [(connections, rows) for rows in (1, 64) for connections in (1, 16)]
HEAD = [
    "connections",
    "rows",
    "bare, requests/s",
    "FastAPI / bare",
    "Whyserve / bare",
    "binary / bare",
    "Whyserve / bare, clock time",
]


def instances(rows: int) -> list[dict[str, float]]:
    """The shipped example, then rows with slightly larger values."""
    example = json.loads(Path("models", MODEL, "example.json").read_text())["instances"][0]
    return [{key: round(value * (1 + 0.001 * row), 6) for key, value in example.items()} for row in range(rows)]


def json_request(rows: int) -> bytes:
    body = json.dumps({"model": MODEL, "instances": instances(rows)}).encode()
    return http_request("/predict", body, Content_Type="application/json")


def binary_request(rows: int) -> bytes:
    """The same rows in the binary extension of the Open Inference Protocol; the response is binary too."""
    spec = json.loads(Path("artifacts", MODEL, "manifest.json").read_text())["spec"]
    given = spec["inputs"][0]
    values = [row[feature["name"]] for row in instances(rows) for feature in given["features"]]
    tail = struct.pack(f"<{len(values)}f", *values)
    tensor = {"name": given["name"], "datatype": "FP32", "shape": [rows, len(given["features"])],
              "parameters": {"binary_data_size": len(tail)}}  # fmt: skip
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return http_request(
        f"/v2/models/{MODEL}/infer", head + tail, Inference_Header_Content_Length=str(len(head)),
        Content_Type="application/octet-stream",
    )  # fmt: skip


def measure(server: Server, load: Load, seconds: float) -> tuple[float, float]:
    """Requests per second of the server's processor time, and per second of wall-clock time."""
    before = server.cpu_s()
    figures = drive(load, seconds)
    return figures.requests / (server.cpu_s() - before), figures.requests_per_s


def compare(servers: dict[str, Server], connections: int, rows: int, seconds: float, rounds: int) -> list[str]:
    plain, binary = json_request(rows), binary_request(rows)
    sides = {name: (server, Load(server.port, plain, connections)) for name, server in servers.items()}
    sides["binary"] = servers["whyserve"], Load(servers["whyserve"].port, binary, connections)
    for _, load in sides.values():
        drive(load, 0.3)
    rounds_measured = [{name: measure(*side, seconds) for name, side in sides.items()} for _ in range(rounds)]

    def ratio(name: str, which: int) -> str:
        return f"{statistics.median(each[name][which] / each['bare'][which] for each in rounds_measured):.2f}"

    rate = statistics.median(each["bare"][0] for each in rounds_measured)
    return [str(connections), str(rows), f"{rate:,.0f}", ratio("fastapi", 0), ratio("whyserve", 0),
            ratio("binary", 0), ratio("whyserve", 1)]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="Length of a run. Default: 2")
    parser.add_argument("--rounds", type=int, default=5, help="Runs per server. Default: 5")
    options: Any = parser.parse_args()
    with ExitStack() as running:
        servers = {name: running.enter_context(start()) for name, start in SERVERS.items()}
        rows = [compare(servers, *case, options.seconds, options.rounds) for case in CASES]
        put(PAGE, "ratios", table(HEAD, rows))
        put(PAGE, "busy", busy_and_idle(servers["whyserve"].port, json_request(1), options.seconds, options.rounds))


if __name__ == "__main__":
    main()
