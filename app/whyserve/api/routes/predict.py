"""POST /predict."""

from codecs import BOM_UTF8

import orjson
from starlette.types import Receive, Scope, Send

from whyserve.api.middleware.answers import send_json
from whyserve.api.middleware.body import read_body
from whyserve.api.state import Service
from whyserve.model.rows import Arrays, row_count
from whyserve.predict.plain_rows import parse_plain
from whyserve.predict.predictor import Predictor


class Predict:
    """Plain ASGI: for a small model, a framework's endpoint costs more than the prediction."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        state["route"] = "/predict"
        body = (await read_body(receive, self._service.body_memory)).removeprefix(BOM_UTF8)
        predictor, arrays, wants_bounds = self._read_plain(body) or await self._read(body)
        state["model"] = predictor.spec.name
        self._service.note(state, predictor, body, arrays)
        del body  # not held while the prediction waits for its batch
        table = await predictor.answer(arrays)
        answer = {
            "model": predictor.spec.name,
            "version": predictor.spec.version,
            "predictions": predictor.outputs.predictions(table),
        }
        if wants_bounds:
            answer["out_of_range"] = predictor.bounds.outside(arrays)
        await send_json(send, orjson.dumps(answer))

    def _read_plain(self, body: bytes) -> tuple[Predictor, Arrays, bool] | None:
        """The model and its rows, if they hold numbers only and the request is certain to be valid."""
        if (request := parse_plain(body)) is None:
            return None
        if (predictor := self._service.catalog.current(request["model"])) is None:
            return None
        arrays = predictor.read_plain(request)
        if arrays is None or not 0 < row_count(arrays) <= self._service.settings.max_instances:
            return None
        return predictor, arrays, False

    async def _read(self, body: bytes) -> tuple[Predictor, Arrays, bool]:
        request = self._service.parse(self._service.predict_adapter, body)
        predictor = self._service.catalog.get(request["model"], request.get("version"))
        arrays = await predictor.read(request["instances"])
        return predictor, arrays, request.get("out_of_range", False)
