"""POST /predict."""

from codecs import BOM_UTF8

import orjson
from starlette.types import Receive, Scope, Send

from whyserve.api.middleware.answers import json_answer
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
        service, wants_bounds = self._service, False
        if plain := self._read_plain(body):
            predictor, arrays = plain
        else:
            request = service.parse(service.predict_adapter, body)
            predictor = service.catalog.get(request["model"], request.get("version"))
            instances = request["instances"]
            arrays = predictor.arrays(instances) if predictor.reads_at_once else await predictor.read(instances)
            wants_bounds = request.get("out_of_range", False)
        state["model"] = predictor.spec.name
        service.note(state, predictor, body, arrays)
        del body  # not held while the prediction waits for its batch
        table = await predictor.answer(arrays)
        answer = {
            "model": predictor.spec.name,
            "version": predictor.spec.version,
            "predictions": predictor.outputs.predictions(table),
        }
        if wants_bounds:
            answer["out_of_range"] = predictor.bounds.outside(arrays)
        await send(json_answer(orjson.dumps(answer)))

    def _read_plain(self, body: bytes) -> tuple[Predictor, Arrays] | None:
        """The model and its rows, if they hold numbers only and the request is certain to be valid."""
        if (request := parse_plain(body)) is None:
            return None
        if (predictor := self._service.catalog.current(request["model"])) is None:
            return None
        arrays = predictor.read_plain(request)
        if arrays is None or not 0 < row_count(arrays) <= self._service.settings.max_instances:
            return None
        return predictor, arrays
