"""What /predict is measured against, each serving breast_cancer with one event loop:

bare     a plain ASGI function on uvicorn: JSON in, the session, JSON out, and nothing checked
fastapi  the handler most people write: a pydantic model, a sync function, a dict
"""

import json
import sys
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


def bare() -> Any:
    session, features, _, name = load()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        rows = [[row[feature] for feature in features] for row in orjson.loads(body)["instances"]]
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


def main(which: str, port: int) -> None:
    app = {"bare": bare, "fastapi": fastapi}[which]()
    uvicorn.run(
        app, port=port, loop="uvloop", http="httptools", log_level="error", access_log=False,
        server_header=which != "bare",
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
