"""POST /v2/models/{model}[/versions/{version}]/explain: the request of an inference, answered with attributions.

With the parameter `counterfactual`, it is answered with counterfactuals instead.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.errors.problems import validated
from whyserve.api.explain.counterfactuals import Counterfactuals
from whyserve.api.explain.job import build_job
from whyserve.api.explain.wait import complete_answer
from whyserve.api.oip.attributions import names_of, tensors_of
from whyserve.api.oip.response import infer_response
from whyserve.api.oip.server import addressed
from whyserve.api.oip.tensors import InferInputs, read_inputs
from whyserve.api.oip.wire import unpack
from whyserve.api.schemas.requests import explain_options
from whyserve.api.schemas.types import one_of, typed_dict
from whyserve.api.state import Service
from whyserve.errors import InvalidInput
from whyserve.model.spec import ModelSpec
from whyserve.predict.decisions import OPTIONS as COUNTERFACTUALS
from whyserve.predict.predictor import Predictor

# A summary has no tensors.
OPTIONS = [name for name in explain_options(("any",), ("all",), str) if name != "summary"]
# Its value is true, or the options of POST /counterfactual, as JSON or as an object. So is the name of its tensor.
COUNTERFACTUAL = "counterfactual"
# Fields of an explanation that the response has in another place.
ELSEWHERE = ("id", "model", "version")


async def explain(request: Request) -> Response:
    """Predict and explain from tensors."""
    service: Service = request.app.state.service
    state = request.scope["state"]
    body = await request.body()
    predictor = addressed(request)
    spec = predictor.spec
    wire_body = unpack(request.scope["headers"], body)
    inputs = read_inputs(wire_body, predictor, [*names_of(spec), COUNTERFACTUAL], service.settings.max_instances)
    if COUNTERFACTUAL in inputs.parameters:
        tensors, about = await _counterfactuals(request, predictor, inputs), {"manifest": predictor.digest}
        return _response(state, spec, inputs, tensors, about)
    job = await build_job(request, service, predictor, inputs.arrays, _options(inputs.parameters, spec))
    answer = orjson.loads(await complete_answer(request, service, job))
    tensors = tensors_of(spec, answer["explanations"])
    return _response(state, spec, inputs, tensors, _parameters(answer))


def _response(
    state: Mapping[str, Any],
    spec: ModelSpec,
    inputs: InferInputs,
    tensors: Mapping[str, np.ndarray],
    parameters: Mapping[str, Any],
) -> Response:
    # A method that does not sample has no standard errors.
    outputs = [output for output in inputs.outputs if output.name in tensors]
    request_id = state["request_id"] if inputs.id is None else inputs.id
    return infer_response(spec, request_id, tensors, outputs, parameters).response()


async def _counterfactuals(request: Request, predictor: Predictor, inputs: InferInputs) -> dict[str, np.ndarray]:
    """The tensor (R,) of JSON. Raises InvalidInput, which names the place."""
    if other := next((name for name in OPTIONS if name in inputs.parameters), None):
        words = f'"{other}" is an option of an explanation; ask for counterfactuals in a request of their own'
        raise InvalidInput(words, field=other)
    given = _from_json(inputs.parameters, COUNTERFACTUAL)
    shape = '"counterfactual": true or {"count": …}'
    options = validated(lambda: COUNTERFACTUALS.validate_python({} if given is True else given), shape=shape)
    searches: Counterfactuals = request.app.state.counterfactuals
    found = await searches.find(request, predictor, inputs.arrays, options)
    return {COUNTERFACTUAL: np.array([orjson.dumps(each) for each in found], dtype=object)}


def _from_json(parameters: Mapping[str, Any], name: str) -> Any:
    """A parameter that is an object, or its JSON: clients of V2 send no objects as parameters."""
    try:
        return orjson.loads(parameters[name]) if isinstance(parameters[name], str) else parameters[name]
    except ValueError:
        raise InvalidInput(f'"{name}" is not JSON', field=name) from None


def _parameters(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an explanation that are no tensors. A parameter is a text, a number or a boolean."""
    background = answer["background"]
    measured = answer.get("measured_players")
    return {
        **({"measured_players": orjson.dumps(measured).decode()} if measured else {}),
        **{key: x for key, x in answer.items() if isinstance(x, str | float | int) and key not in ELSEWHERE},
        "background": background["name"],
        "background_sha256": background["sha256"],
    }


def _options(parameters: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """The options among the parameters. By default all outputs are explained, because all rows need equally many;
    with reasons, their output."""
    default = {} if parameters.get("reasons") is True else {"outputs": "all"}
    given = {**default, **{name: parameters[name] for name in OPTIONS if name in parameters}}
    if isinstance(given.get("outputs"), str) and given["outputs"] not in spec.output_keywords:
        given["outputs"] = [given["outputs"]]
    if "players" in given:
        given["players"] = _from_json(given, "players")
    return check_options(given, spec)


def check_options(given: dict[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Validated options. `background` must be the name of one of the model's backgrounds. Raises InvalidInput."""
    adapter = _adapter(spec.output_names, spec.output_keywords, tuple(spec.explain.files))
    options: dict[str, Any] = validated(lambda: adapter.validate_python(given))
    return options


@lru_cache(maxsize=256)
def _adapter(labels: tuple[str, ...], keywords: tuple[str, ...], backgrounds: tuple[str, ...]) -> TypeAdapter[Any]:
    return TypeAdapter(typed_dict("ExplainOptions", explain_options(labels, keywords, one_of(backgrounds))))
