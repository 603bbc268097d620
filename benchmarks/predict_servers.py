"""The servers that /predict is compared with. Each serves breast_cancer with one event loop:

bare     a plain ASGI function on uvicorn: parse JSON, run the session, write JSON, without validation
lists    the same for rows without names
fastapi  a common FastAPI handler: a pydantic model, a sync function, a dict
shap     the same with shap.DeepExplainer: base values and attributions of all outputs
"""

import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
import uvicorn

MODEL = "breast_cancer"


def load() -> tuple[ort.InferenceSession, list[str], list[str], str]:
    folder = Path("artifacts") / MODEL
    spec = json.loads((folder / "manifest.json").read_text())["spec"]
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    features = [feature["name"] for feature in spec["inputs"][0]["features"]]
    return session, features, spec["output"]["labels"], spec["inputs"][0]["name"]


def bare(named: bool = True) -> Any:
    session, features, _, name = load()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        rows = orjson.loads(body)["instances"]
        if named:
            rows = [[row[feature] for feature in features] for row in rows]
        scores = session.run(None, {name: np.array(rows, dtype=np.float32)})[0]
        answer = orjson.dumps({"predictions": scores.tolist()})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def fastapi() -> Any:
    from fastapi import FastAPI
    from pydantic import BaseModel, create_model

    session, features, labels, name = load()
    row: Any = create_model("Row", **dict.fromkeys(features, (float, ...)))  # type: ignore[call-overload]

    class Request(BaseModel):
        model: str
        instances: list[row]

    app = FastAPI()

    @app.post("/predict")
    def predict(request: Request) -> dict[str, Any]:
        rows = [list(instance.model_dump().values()) for instance in request.instances]
        scores = session.run(None, {name: np.array(rows, dtype=np.float32)})[0]
        return {
            "predictions": [
                {"label": labels[int(np.argmax(each))], "scores": dict(zip(labels, each.tolist(), strict=True))}
                for each in scores
            ]
        }

    return app


def deep_explainer() -> Any:
    """shap.DeepExplainer for the shipped network and its background, on one thread."""
    import runpy

    import shap
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    folder = Path("models", MODEL)
    network = runpy.run_path(str(folder / "network.py"))["build"]().eval()
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    (background,) = np.load(folder / "background.npz").values()
    return shap.DeepExplainer(network, torch.tensor(background, dtype=torch.float32))


def shap_handler() -> Any:
    import torch
    from fastapi import FastAPI
    from pydantic import BaseModel

    _, features, labels, _ = load()
    explainer = deep_explainer()
    base = dict(zip(labels, explainer.expected_value.tolist(), strict=True))
    one_at_a_time = threading.Lock()  # two calls at once change the same network

    class Request(BaseModel):
        instances: list[dict[str, float]]

    app = FastAPI()

    @app.post("/explain")
    def explain(request: Request) -> dict[str, Any]:
        rows = torch.tensor([[row[feature] for feature in features] for row in request.instances])
        with one_at_a_time:
            values = explainer.shap_values(rows, check_additivity=False)
        return {
            "base_values": base,
            "explanations": [
                {label: dict(zip(features, each[:, k].tolist(), strict=True)) for k, label in enumerate(labels)}
                for each in values
            ],
        }

    return app


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    pid: int  # the process with the event loop

    def cpu_s(self) -> float:
        """Processor time of all threads so far, in seconds."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _api_of(supervisor: int) -> int:
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return next(int(pid) for pid in children if b"\0api\0" in Path(f"/proc/{pid}/cmdline").read_bytes())


@contextmanager
def _running(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-m", *command], text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def _comparison_server(which: str) -> Iterator[Server]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with _running("benchmarks.predict_servers", which, str(port)) as process:
        end = time.monotonic() + 60
        while True:
            assert process.poll() is None, f"{which} did not start"
            assert time.monotonic() < end, f"{which} was not ready after 60 s"
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield Server(port, process.pid)


def bare_server() -> Any:
    return _comparison_server("bare")


def lists_server() -> Any:
    return _comparison_server("lists")


def plain_server() -> Any:
    return _comparison_server("fastapi")


def shap_server() -> Any:
    return _comparison_server("shap")


@contextmanager
def whyserve_server(*flags: str) -> Iterator[Server]:
    """Whyserve with its default settings, or with `flags`: API and worker."""
    with (
        tempfile.TemporaryDirectory() as state,
        _running("whyserve.cli", "up", "--port", "0", "--state", state, *flags, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"ready on http://\S+:(\d+)", line):
                yield Server(int(found[1]), _api_of(process.pid))
                return
        raise RuntimeError("whyserve did not start")


def main(which: str, port: int) -> None:
    apps: dict[str, Callable[[], Any]] = {
        "bare": bare, "lists": lambda: bare(named=False), "fastapi": fastapi, "shap": shap_handler,
    }  # fmt: skip
    app = apps[which]()
    uvicorn.run(
        app, port=port, loop="uvloop", http="httptools", log_level="error", access_log=False,
        server_header=which != "bare",
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
