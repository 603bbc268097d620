"""POST /v2/models/{model}[/versions/{version}]/infer."""

import time

import numpy as np
from starlette.types import Receive, Scope, Send

from whyserve.api.middleware.body import read_body
from whyserve.api.oip.response import reply
from whyserve.api.oip.tensors import Wanted, read
from whyserve.api.oip.wire import unpack
from whyserve.api.state import Service
from whyserve.errors import UnknownModel
from whyserve.model.outputs import Outputs
from whyserve.predict.predictor import Predictor

PREFIX, SUFFIX = "/v2/models/", "/infer"
ROUTE = "/v2/models/{model}/infer"


def is_infer(path: str) -> bool:
    return path.startswith(PREFIX) and path.endswith(SUFFIX)


def find(service: Service, model: str, version: str | None) -> Predictor:
    """version: as an address has it. Raises UnknownModel."""
    if version is None:
        return service.catalog.get(model)
    # A version that is no number is unknown like any other: none is served as 0.
    return service.catalog.get(model, int(version) if version.isdecimal() and len(version) < 10 else 0)


class Infer:
    """Plain ASGI, as /predict is."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        state["route"] = ROUTE
        body = await read_body(receive, self._service.bodies)
        predictor = self._addressed(scope["path"])
        spec = predictor.spec
        state["model"] = spec.name
        wire_body = await unpack(scope["headers"], body, self._service.settings.max_body_mb << 20)
        began = time.perf_counter_ns()
        output = spec.output.tensor
        asked = read(wire_body, predictor, [output], self._service.settings.max_instances)
        predictor.statistics.decoded.add(time.perf_counter_ns() - began)
        table = await predictor.answer(asked.arrays)
        began = time.perf_counter_ns()
        (want,) = asked.outputs
        tensor = _classes(predictor.outputs, table, want) if want.classes else table
        identity = state["request_id"] if asked.id is None else asked.id
        answer = reply(spec, identity, {output: tensor}, asked.outputs)
        predictor.statistics.encoded.add(time.perf_counter_ns() - began)
        await send({"type": "http.response.start", "status": 200, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _addressed(self, path: str) -> Predictor:
        model, *rest = path[len(PREFIX) : -len(SUFFIX)].split("/")
        match rest:
            case []:
                return find(self._service, model, None)
            case ["versions", version]:
                return find(self._service, model, version)
        raise UnknownModel("there is nothing at this address; /v2/models/{model}/infer answers")


def _classes(outputs: Outputs, table: np.ndarray, want: Wanted) -> np.ndarray:
    """Triton's classification extension: the greatest outputs of each row, first the greatest, as score:place:name."""
    scores = outputs.scores(table)
    best = np.argsort(-scores, axis=1, kind="stable")[:, : want.classes]
    words = [
        [f"{row[i]:f}:{i}:{outputs.names[i]}".encode() for i in places]
        for row, places in zip(scores, best, strict=True)
    ]
    return np.array(words, dtype=object)
