"""KServe's V1 protocol: {"instances": […]} in, {"predictions": […]} or {"explanations": […]} out.

An instance is a row as /predict takes it; or, for a model of one input, that input's numbers or its text.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic_core import from_json as parse
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.errors.problems import LONGEST_NAME
from whyserve.api.explain.job import request_job
from whyserve.api.oip.encoding import from_json, name_of
from whyserve.api.oip.explain import answer, check_options
from whyserve.api.oip.tensors import checked
from whyserve.api.oip.wire import unpack
from whyserve.api.schemas.versions import VersionedAdapter
from whyserve.api.state import Service
from whyserve.errors import InvalidInput, MalformedBody, TooManyInstances
from whyserve.model.rows import Arrays
from whyserve.predict.predictor import Predictor


async def models(request: Request) -> Response:
    service: Service = request.app.state.service
    return Response(orjson.dumps({"models": service.catalog.names}), media_type="application/json")


async def model(request: Request) -> Response:
    service: Service = request.app.state.service
    name = service.catalog.get(request.path_params["model"]).spec.name
    return Response(orjson.dumps({"name": name, "ready": True}), media_type="application/json")


async def predict(request: Request) -> Response:
    service: Service = request.app.state.service
    predictor, arrays, _ = await _read(request, service, service.predict_adapter)
    table = await predictor.answer(arrays)
    return Response(orjson.dumps({"predictions": predictor.outputs.predictions(table)}), media_type="application/json")


async def explain(request: Request) -> Response:
    service: Service = request.app.state.service
    predictor, arrays, asked = await _read(request, service, service.explain_adapter)
    if asked.get("summary"):
        raise InvalidInput('"summary" is not a field here: POST /explain summarises', field="summary")
    job = await request_job(request, service, predictor, arrays, asked)
    return Response(await answer(request, service, job), media_type="application/json")


async def _read(
    request: Request, service: Service, adapter: VersionedAdapter
) -> tuple[Predictor, Arrays, Mapping[str, Any]]:
    """The model, its arrays, and what else was asked. Raises MalformedBody, InvalidInput, UnknownModel and others."""
    body = await request.body()
    predictor = service.catalog.get(request.path_params["model"])
    request.scope["state"]["model"] = predictor.spec.name
    wire_body = await unpack(request.scope["headers"], body, service.settings.max_body_mb << 20)
    try:
        asked = parse(wire_body.json or b"")
    except ValueError:
        raise MalformedBody("the body is not JSON") from None
    if not isinstance(asked, dict):
        raise InvalidInput('the body must be an object: {"instances": […]}')
    instances, most = asked.get("instances"), service.settings.max_instances
    if len(predictor.texts) == len(predictor.spec.inputs) == 1 and isinstance(instances, list):
        # Of a model of one text, the text alone will do.
        (name,) = predictor.texts
        rows = [{name: each} if isinstance(each, str) else each for each in instances]
        asked = {**asked, "instances": rows}
    if isinstance(instances, list) and instances and isinstance(instances[0], list):
        rest = {key: value for key, value in asked.items() if key != "instances"}
        if adapter is service.explain_adapter:
            rest = check_options(rest, predictor.spec)
        elif rest:
            raise InvalidInput(f'"{min(rest)[:LONGEST_NAME]}" is not a field here')
        return predictor, _positional(predictor, instances, most), rest
    asked = service.check(adapter, {**asked, "model": predictor.spec.name})
    if len(asked["instances"]) > most:  # the adapter allows for summaries, which are longer
        raise TooManyInstances(f'"instances" must hold at most {most}', field="instances")
    return predictor, await predictor.read(asked["instances"]), asked


def _positional(predictor: Predictor, instances: list[Any], most: int) -> Arrays:
    if len(predictor.spec.inputs) > 1:
        raise InvalidInput("instances[0] must be an object: this model has several inputs")
    (only,) = predictor.spec.inputs
    try:
        array = from_json(instances, name_of(only.dtype), (len(instances), *only.row_shape))
    except InvalidInput as error:
        raise InvalidInput(f"instances: {error.message}", field="instances") from None
    return checked(predictor, {only.name: array}, most)
