"""The addresses of routes.py in the OpenAPI document."""

from collections.abc import Iterable
from typing import Any

from whyserve.api.oip.encoding import DATATYPES, name_of
from whyserve.api.oip.schema import IndexRequest, InferRequest
from whyserve.api.openapi import oip_types
from whyserve.api.openapi.components import IDEMPOTENCY_KEY, JSON, add, content, ref
from whyserve.predict.predictor import Predictor

ANSWERS = (
    oip_types.OipError,
    oip_types.ServerMetadata,
    oip_types.ServerLive,
    oip_types.ServerReady,
    oip_types.ServedModels,
    oip_types.ModelMetadata,
    oip_types.ModelReady,
    oip_types.IndexEntry,
    oip_types.StatisticsList,
    oip_types.InferResponse,
    oip_types.ExplainTensorsResponse,
    oip_types.KservePredictResponse,
)
BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
LENGTH = {
    "description": "Of a body with tensors as bytes: how many bytes of JSON stand before them.",
    "schema": {"type": "integer", "minimum": 0},
}
MODEL = {"name": "model", "in": "path", "required": True, "schema": ref("ModelName")}
NEW_MODEL = {**MODEL, "schema": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$"}}
VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9]{1,9}$"}}
# An example of more numbers would be most of the document.
MOST_NUMBERS = 1000


def add_paths(document: dict[str, Any], predictors: list[Predictor], most: int) -> None:
    """most: instances that one request may hold."""
    components, paths = document["components"]["schemas"], document["paths"]
    for answer in ANSWERS:
        add(components, answer, "serialization")
    for request in (InferRequest, IndexRequest, oip_types.ExplainParameters, *oip_types.kserve_requests(most)):
        add(components, request, "validation")
    add(components, oip_types.InferParameters, "validation")
    # Read as any string, so that what is said of a wrong one is ours.
    components["Tensor"]["properties"]["datatype"]["enum"] = list(DATATYPES)
    components["ModelName"] = {"title": "ModelName", "type": "string", "enum": [each.spec.name for each in predictors]}
    components["ExplainTensorsRequest"] = _with_parameters(components, "ExplainTensorsRequest", "ExplainParameters")
    components["InferRequest"] = _with_parameters(components, "InferRequest", "InferParameters")
    paths.update(_server())
    for place, of, more in (("", "Model", []), ("/versions/{version}", "Version", [VERSION])):
        paths.update(_models(f"/v2/models/{{model}}{place}", of, [MODEL, *more], predictors))
    paths.update(_repository())
    paths.update(_kserve(predictors))


def _with_parameters(components: dict[str, Any], title: str, parameters: str) -> dict[str, Any]:
    request = components["InferRequest"]
    return {**request, "title": title, "properties": {**request["properties"], "parameters": ref(parameters)}}


def _server() -> dict[str, Any]:
    return {
        "/v2": {"get": _operation("serverMetadata", "What this server is.", "ServerMetadata")},
        "/v2/health/live": {"get": _operation("serverLive", "The process answers.", "ServerLive")},
        "/v2/health/ready": {"get": _operation("serverReady", "Ready to predict.", "ServerReady")},
        "/v2/models": {"get": _operation("servedModels", "The models' names.", "ServedModels")},
        "/v2/models/stats": {"get": _operation("allStatistics", "Statistics of every model.", "StatisticsList")},
    }


def _models(place: str, of: str, parameters: list[Any], predictors: Iterable[Predictor]) -> dict[str, Any]:
    """What is asked of a model, or of one version of it."""
    tensors = {each.spec.name: _tensors(each) for each in predictors}
    examples = {
        model: {"value": {"inputs": inputs}}
        for model, inputs in tensors.items()
        if sum(len(tensor["data"]) for tensor in inputs) <= MOST_NUMBERS
    }
    name = of.lower()
    infer, explain = ("infer", "explainTensors") if of == "Model" else ("inferVersion", "explainVersion")
    inferred = _operation(infer, "Predict, of tensors.", "InferResponse", parameters)
    explained = _operation(
        explain, "Predict, and say why, in tensors.", "ExplainTensorsResponse", [*parameters, IDEMPOTENCY_KEY]
    )
    return {
        place: {"get": _operation(f"{name}Metadata", "The model's tensors.", "ModelMetadata", parameters)},
        f"{place}/ready": {"get": _operation(f"{name}Ready", "It is served.", "ModelReady", parameters)},
        f"{place}/stats": {"get": _operation(f"{name}Statistics", "Its statistics.", "StatisticsList", parameters)},
        f"{place}/infer": {"post": _packed(inferred, "InferRequest", examples)},
        f"{place}/explain": {"post": _packed(explained, "ExplainTensorsRequest", examples)},
    }


def _repository() -> dict[str, Any]:
    index = _operation("repositoryIndex", "Every version that is served.", None)
    listed = {"type": "array", "items": ref("IndexEntry")}
    index["responses"]["200"]["content"] = {JSON: {"schema": listed}}
    index["requestBody"] = {"content": content("IndexRequest")}
    place = "/v2/repository/models/{model}"
    return {
        "/v2/repository/index": {"post": index},
        f"{place}/load": {"post": _operation("loadModel", "Serve a model's newest builds.", None, [NEW_MODEL])},
        f"{place}/unload": {"post": _operation("unloadModel", "Serve a model no longer.", None, [MODEL])},
        f"{place}/versions/{{version}}/unload": {
            "post": _operation("unloadVersion", "Serve a version no longer.", None, [MODEL, VERSION])
        },
    }


def _kserve(predictors: Iterable[Predictor]) -> dict[str, Any]:
    examples = {each.spec.name: {"value": {"instances": each.manifest.example["instances"]}} for each in predictors}
    found: dict[str, Any] = {
        "/v1/models": {"get": _operation("kserveModels", "The models' names.", "ServedModels")},
        "/v1/models/{model}": {"get": _operation("kserveModel", "It is served.", "ModelReady", [MODEL])},
    }
    for verb, words, answer in (
        ("predict", "Predict.", "KservePredictResponse"),
        ("explain", "Predict, and say why.", "ExplainResponse"),
    ):
        kind = f"Kserve{verb.capitalize()}"
        parameters = [MODEL, IDEMPOTENCY_KEY] if verb == "explain" else [MODEL]
        operation = _operation(f"kserve{verb.capitalize()}", words, answer, parameters)
        asked = {"schema": ref(f"{kind}Request"), "examples": examples}
        operation["requestBody"] = {"required": True, "content": {JSON: asked}}
        found[f"/v1/models/{{model}}:{verb}"] = {"post": operation}
    for path in found.values():
        for operation in path.values():
            operation["tags"] = ["kserve"]
    return found


def _operation(name: str, words: str, answer: str | None, parameters: Iterable[Any] = ()) -> dict[str, Any]:
    """answer: the component; None where it says nothing."""
    body = content(answer) if answer else {JSON: {"schema": {"type": "object"}}}
    made: dict[str, Any] = {"operationId": name, "tags": ["oip"], "summary": words}
    if parameters:
        made["parameters"] = list(parameters)
    return {**made, "responses": {"200": {"description": words, "content": body}}}


def _packed(operation: dict[str, Any], request: str, examples: dict[str, Any]) -> dict[str, Any]:
    """With the binary extension: JSON alone, or JSON and then the tensors' bytes, both ways."""
    header = {"name": "Inference-Header-Content-Length", "in": "header", "required": False, **LENGTH}
    operation["parameters"].append(header)
    operation["requestBody"] = {
        "required": True,
        "description": "JSON, or JSON and then tensors' bytes, or one tensor's bytes; gzip or deflate may be on it.",
        "content": {JSON: {"schema": ref(request), "examples": examples}, **BYTES},
    }
    answered = operation["responses"]["200"]
    answered["headers"] = {header["name"]: LENGTH}
    answered["content"] = {**answered["content"], **BYTES}
    return operation


def _tensors(predictor: Predictor) -> list[dict[str, Any]]:
    """The model's example as tensors."""
    arrays = predictor.arrays(predictor.manifest.example["instances"])
    return [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": name_of(array.dtype),
            "data": [float(str(x)) if array.dtype.kind == "f" else int(x) for x in array.reshape(-1)],
        }
        for name, array in arrays.items()
    ]
