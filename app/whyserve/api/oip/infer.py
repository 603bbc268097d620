"""POST /v2/models/{model}[/versions/{version}]/infer."""

import time

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from whyserve.api.middleware.body import read_body
from whyserve.api.oip.response import infer_response
from whyserve.api.oip.tensors import read_inputs
from whyserve.api.oip.wire import PackedResponse, unpack
from whyserve.api.state import Service
from whyserve.errors import UnknownModel
from whyserve.model.outputs import Outputs
from whyserve.predict.predictor import Predictor

PREFIX, SUFFIX = "/v2/models/", "/infer"
ROUTE = "/v2/models/{model}/infer"


def is_infer(path: str) -> bool:
    return path.startswith(PREFIX) and path.endswith(SUFFIX)


def find_predictor(service: Service, model: str, version: str | None) -> Predictor:
    """version: as in the path. Raises UnknownModel."""
    if version is None:
        return service.catalog.get(model)
    # No version is 0, so a version that is not a number becomes an unknown one.
    return service.catalog.get(model, int(version) if version.isdecimal() and len(version) < 10 else 0)


class Infer:
    """Plain ASGI, like /predict."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(scope, receive)
        await send({"type": "http.response.start", "status": 200, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def infer(self, request: Request) -> Response:
        """Predict from tensors."""
        return (await self._answer(request.scope, request.receive)).response()

    async def _answer(self, scope: Scope, receive: Receive) -> PackedResponse:
        state = scope["state"]
        state["route"] = ROUTE
        body = await read_body(receive, self._service.body_memory)
        predictor = self._addressed(scope["path"])
        spec = predictor.spec
        state["model"] = spec.name
        wire_body = unpack(scope["headers"], body)
        start = time.perf_counter_ns()
        name = spec.output.tensor
        inputs = read_inputs(wire_body, predictor, [name], self._service.settings.max_instances)
        predictor.statistics.decoded.add(time.perf_counter_ns() - start)
        self._service.note(state, predictor, body, inputs.arrays)
        table = await predictor.answer(inputs.arrays)
        start = time.perf_counter_ns()
        (output,) = inputs.outputs
        tensor = _classes(predictor.outputs, table, output.classes) if output.classes else table
        request_id = state["request_id"] if inputs.id is None else inputs.id
        answer = infer_response(spec, request_id, {name: tensor}, inputs.outputs)
        predictor.statistics.encoded.add(time.perf_counter_ns() - start)
        return answer

    def _addressed(self, path: str) -> Predictor:
        model, *rest = path[len(PREFIX) : -len(SUFFIX)].split("/")
        match rest:
            case []:
                return find_predictor(self._service, model, None)
            case ["versions", version]:
                return find_predictor(self._service, model, version)
        raise UnknownModel("unknown path; use /v2/models/{model}/infer or /v2/models/{model}/versions/{version}/infer")


def _classes(outputs: Outputs, table: np.ndarray, count: int) -> np.ndarray:
    """Triton's classification extension: the `count` largest outputs of each row, largest first, as score:index:name.

    table: (rows, columns). Returns (rows, count) of bytes.
    """
    scores = outputs.scores(table)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    words = [
        [f"{row[i]:f}:{i}:{outputs.names[i]}".encode() for i in places]
        for row, places in zip(scores, best, strict=True)
    ]
    return np.array(words, dtype=object)
