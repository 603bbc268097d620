"""POST /predict."""

import orjson
from starlette.types import Receive, Scope, Send

from whyserve.api.middleware.body import read_body
from whyserve.api.state import Service

JSON = (b"content-type", b"application/json")


class Predict:
    """Plain ASGI: for a small model, a framework's endpoint costs more than the prediction."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        state["route"] = "/predict"
        body = await read_body(receive, self._service.body_memory)
        request = self._service.parse(self._service.predict_adapter, body)
        predictor = self._service.catalog.get(request["model"], request.get("version"))
        state["model"] = predictor.spec.name
        table = await predictor.answer(await predictor.read(request["instances"]))
        answer = {
            "model": predictor.spec.name,
            "version": predictor.spec.version,
            "predictions": predictor.outputs.predictions(table),
        }
        content = orjson.dumps(answer)
        headers = [JSON, (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
