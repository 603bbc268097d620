"""POST /predict."""

import orjson
from starlette.types import Receive, Scope, Send

from whyserve.api.middleware.body import read_body
from whyserve.api.state import Service

JSON = (b"content-type", b"application/json")


class Predict:
    """Plain ASGI: with a small model, an endpoint of any framework would cost more than all that it does."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        state["route"] = "/predict"
        asked = self._service.read(self._service.predict_adapter, await read_body(receive, self._service.bodies))
        predictor = self._service.catalog.get(asked["model"], asked.get("version"))
        state["model"] = predictor.spec.name
        table = await predictor.answer(await predictor.read(asked["instances"]))
        answer = {
            "model": predictor.spec.name,
            "version": predictor.spec.version,
            "predictions": predictor.outputs.predictions(table),
        }
        body = orjson.dumps(answer)
        headers = [JSON, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
