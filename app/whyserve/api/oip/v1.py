"""KServe's V1 protocol: {"instances": […]} in, {"predictions": […]} or {"explanations": […]} out.

An instance is a row as in /predict. For a model with one input, it may also be that input's numbers or text.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from whyserve.api.errors.problems import MAX_NAME_LENGTH, UNKNOWN_FIELD, not_an_object
from whyserve.api.explain.job import build_job
from whyserve.api.explain.wait import complete_answer
from whyserve.api.middleware.answers import json_answer
from whyserve.api.middleware.body import read_body
from whyserve.api.oip.encoding import from_json, name_of
from whyserve.api.oip.explain import check_options
from whyserve.api.oip.tensors import check_inputs
from whyserve.api.oip.wire import unpack
from whyserve.api.schemas.requests import instances_limit
from whyserve.api.schemas.rows import without_b64
from whyserve.api.schemas.versions import VersionedAdapter
from whyserve.api.state import Service
from whyserve.errors import InvalidInput, MalformedBody, TooManyInstances
from whyserve.model.rows import Arrays, row_count
from whyserve.predict.predictor import Predictor

PREFIX, SUFFIX = "/v1/models/", ":predict"
ROUTE = "/v1/models/{model}:predict"


def is_predict(path: str) -> bool:
    return path.startswith(PREFIX) and path.endswith(SUFFIX)


class Predict:
    """Plain ASGI, like /predict."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(json_answer(await self._answer(scope, receive)))

    async def predict(self, request: Request) -> Response:
        """Predict."""
        return Response(await self._answer(request.scope, request.receive), media_type="application/json")

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        scope["state"]["route"] = ROUTE
        body = await read_body(receive, self._service.body_memory)
        model = scope["path"][len(PREFIX) : -len(SUFFIX)]
        predictor, arrays, _ = await _read(scope, body, model, self._service, self._service.predict_adapter)
        self._service.note(scope["state"], predictor, body, arrays)
        table = await predictor.answer(arrays)
        return orjson.dumps({"predictions": predictor.outputs.predictions(table)})


async def explain(request: Request) -> Response:
    """Predict and explain."""
    service: Service = request.app.state.service
    body, model = await request.body(), request.path_params["model"]
    predictor, arrays, options = await _read(request.scope, body, model, service, service.explain_adapter)
    if options.get("summary"):
        raise InvalidInput(f'"summary" {UNKNOWN_FIELD}; use POST /explain for a summary', field="summary")
    job = await build_job(request, service, predictor, arrays, options)
    return Response(await complete_answer(request, service, job), media_type="application/json")


async def _read(
    scope: Scope, body: bytes, model: str, service: Service, adapter: VersionedAdapter
) -> tuple[Predictor, Arrays, Mapping[str, Any]]:
    """The model, its arrays, and the other fields. Raises MalformedBody, InvalidInput, UnknownModel and others."""
    predictor = service.catalog.get(model)
    scope["state"]["model"] = predictor.spec.name
    wire_body = unpack(scope["headers"], body)
    content = _content(wire_body.json or b"", predictor)
    instances, limit = content.get("instances"), service.settings.max_instances
    if content.keys() == {"instances"}:
        arrays = predictor.read_plain(content)
        if arrays is not None and row_count(arrays) <= limit:
            return predictor, arrays, {}
    if isinstance(instances, list) and instances and isinstance(instances[0], list):
        options = {key: value for key, value in content.items() if key != "instances"}
        if adapter is service.explain_adapter:
            options = check_options(options, predictor.spec)
        elif options:
            raise InvalidInput(f'"{min(options)[:MAX_NAME_LENGTH]}" {UNKNOWN_FIELD}')
        return predictor, _from_numbers(predictor, instances, limit), options
    content = service.validate(adapter, {**content, "model": predictor.spec.name})
    # The explain adapter accepts as many instances as a summary may have.
    if len(content["instances"]) > limit:
        raise TooManyInstances(instances_limit(limit), field="instances")
    return predictor, await predictor.read(content["instances"]), content


def _content(body: bytes, predictor: Predictor) -> dict[str, Any]:
    """The body's JSON. For a model of one text or image, an instance may be that value alone; it becomes a row here."""
    try:
        content = orjson.loads(body)
    except ValueError:
        raise MalformedBody("the body is not JSON") from None
    if not isinstance(content, dict):
        raise not_an_object('{"instances": […]}')
    instances = content.get("instances")
    only, *others = predictor.spec.inputs
    if not others and not only.is_tabular and isinstance(instances, list):
        values = map(without_b64, instances)
        content["instances"] = [{only.name: each} if isinstance(each, str) else each for each in values]
    return content


def _from_numbers(predictor: Predictor, instances: list[Any], limit: int) -> Arrays:
    """Instances that are nested lists of the only input."""
    if len(predictor.spec.inputs) > 1:
        raise InvalidInput("instances[0] must be an object, because this model has several inputs")
    (only,) = predictor.spec.inputs
    try:
        array = from_json(instances, name_of(only.dtype), (len(instances), *only.row_shape), only.markers)
    except InvalidInput as error:
        raise InvalidInput(f"instances: {error.message}", field="instances") from None
    return check_inputs(predictor, {only.name: array}, limit)
