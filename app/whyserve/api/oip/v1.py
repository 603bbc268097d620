"""KServe's V1 protocol: {"instances": […]} in, {"predictions": […]} or {"explanations": […]} out.

An instance is a row as in /predict. For a model with one input, it may also be that input's numbers or text.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.errors.problems import MAX_NAME_LENGTH, UNKNOWN_FIELD, not_an_object
from whyserve.api.explain.job import build_job
from whyserve.api.explain.wait import complete_answer
from whyserve.api.oip.encoding import from_json, name_of
from whyserve.api.oip.explain import check_options
from whyserve.api.oip.tensors import check_inputs
from whyserve.api.oip.wire import unpack
from whyserve.api.schemas.requests import instances_limit
from whyserve.api.schemas.versions import VersionedAdapter
from whyserve.api.state import Service
from whyserve.errors import InvalidInput, MalformedBody, TooManyInstances
from whyserve.model.rows import Arrays, row_count
from whyserve.predict.predictor import Predictor


async def predict(request: Request) -> Response:
    """Predict."""
    service: Service = request.app.state.service
    predictor, arrays, _ = await _read(request, service, service.predict_adapter)
    table = await predictor.answer(arrays)
    return Response(orjson.dumps({"predictions": predictor.outputs.predictions(table)}), media_type="application/json")


async def explain(request: Request) -> Response:
    """Predict and explain."""
    service: Service = request.app.state.service
    predictor, arrays, options = await _read(request, service, service.explain_adapter)
    if options.get("summary"):
        raise InvalidInput(f'"summary" {UNKNOWN_FIELD}; use POST /explain for a summary', field="summary")
    job = await build_job(request, service, predictor, arrays, options)
    return Response(await complete_answer(request, service, job), media_type="application/json")


async def _read(
    request: Request, service: Service, adapter: VersionedAdapter
) -> tuple[Predictor, Arrays, Mapping[str, Any]]:
    """The model, its arrays, and the other fields. Raises MalformedBody, InvalidInput, UnknownModel and others."""
    body = await request.body()
    predictor = service.catalog.get(request.path_params["model"])
    request.scope["state"]["model"] = predictor.spec.name
    wire_body = unpack(request.scope["headers"], body)
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
    """The body's JSON. For a model of one text, an instance may be that text alone; it becomes a row here."""
    try:
        content = orjson.loads(body)
    except ValueError:
        raise MalformedBody("the body is not JSON") from None
    if not isinstance(content, dict):
        raise not_an_object('{"instances": […]}')
    instances = content.get("instances")
    if isinstance(instances, list) and b'"b64"' in body:
        instances = content["instances"] = [_without_b64(each) for each in instances]
    if len(predictor.texts) == len(predictor.spec.inputs) == 1 and isinstance(instances, list):
        (name,) = predictor.texts
        content["instances"] = [{name: each} if isinstance(each, str) else each for each in instances]
    return content


def _without_b64(instance: Any) -> Any:
    """TensorFlow Serving's {"b64": "…"} as the string in it, also as a value of a row."""
    if not isinstance(instance, dict):
        return instance
    if instance.keys() == {"b64"}:
        return instance["b64"]
    return {key: _without_b64(value) for key, value in instance.items()}


def _from_numbers(predictor: Predictor, instances: list[Any], limit: int) -> Arrays:
    """Instances that are nested lists of the only input."""
    if len(predictor.spec.inputs) > 1:
        raise InvalidInput("instances[0] must be an object, because this model has several inputs")
    (only,) = predictor.spec.inputs
    try:
        array = from_json(instances, name_of(only.dtype), (len(instances), *only.row_shape))
    except InvalidInput as error:
        raise InvalidInput(f"instances: {error.message}", field="instances") from None
    return check_inputs(predictor, {only.name: array}, limit)
