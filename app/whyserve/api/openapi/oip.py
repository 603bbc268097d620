"""The paths of the Open Inference Protocol in the OpenAPI document."""

from collections.abc import Iterable
from typing import Any

from whyserve.api.oip.encoding import DATATYPES, name_of
from whyserve.api.oip.schema import IndexRequest, InferRequest
from whyserve.api.openapi import oip_requests, oip_responses
from whyserve.api.openapi.components import IDEMPOTENCY_KEY, JSON, add, content, ref
from whyserve.api.openapi.kserve import kserve_paths
from whyserve.api.openapi.oip_operations import MODEL, NEW_MODEL, VERSION, operation, with_binary
from whyserve.api.schemas.types import type_name
from whyserve.predict.predictor import Predictor

RESPONSES = (
    oip_responses.OipError,
    oip_responses.ServerMetadata,
    oip_responses.ServerLive,
    oip_responses.ServerReady,
    oip_responses.ServedModels,
    oip_responses.ModelMetadata,
    oip_responses.ModelReady,
    oip_responses.IndexEntry,
    oip_responses.StatisticsList,
    oip_responses.InferResponse,
    oip_responses.ExplainTensorsResponse,
    oip_responses.KservePredictResponse,
)
# Longer examples would be most of the document.
MAX_EXAMPLE_NUMBERS = 1000


def add_paths(document: dict[str, Any], predictors: list[Predictor], limit: int) -> None:
    """limit: the largest number of instances in one request."""
    components, paths = document["components"]["schemas"], document["paths"]
    for response in RESPONSES:
        add(components, response, "serialization")
    for request in (InferRequest, IndexRequest, oip_requests.ExplainParameters, *oip_requests.kserve_requests(limit)):
        add(components, request, "validation")
    add(components, oip_requests.InferParameters, "validation")
    # The parser accepts any string, because its own error message is better than that of an enum.
    components["Tensor"]["properties"]["datatype"]["enum"] = list(DATATYPES)
    components["ModelName"] = _names([each.spec.name for each in predictors])
    components["ExplainTensorsRequest"] = _with_parameters(components, "ExplainTensorsRequest", "ExplainParameters")
    components["InferRequest"] = _with_parameters(components, "InferRequest", "InferParameters")
    paths.update(_server())
    for place, of, more in (("", "Model", []), ("/versions/{version}", "Version", [VERSION])):
        paths.update(_models(f"/v2/models/{{model}}{place}", of, [MODEL, *more], predictors))
    paths.update(_repository())
    paths.update(kserve_paths(predictors))


def _with_parameters(components: dict[str, Any], title: str, parameters: str) -> dict[str, Any]:
    request = components["InferRequest"]
    return {**request, "title": title, "properties": {**request["properties"], "parameters": ref(parameters)}}


def _names(names: list[str]) -> dict[str, Any]:
    """The names of models. Client generators make constants of them, in which a-b and a_b would be the same."""
    constants = [name if (made := type_name(name)).isalnum() else made for name in names]
    varnames = [constant.upper() for constant in constants]
    return {"title": "ModelName", "type": "string", "enum": names, "x-enum-varnames": varnames}


def _server() -> dict[str, Any]:
    return {
        "/v2": {"get": operation("serverMetadata", "Name, version and extensions of the server.", "ServerMetadata")},
        "/v2/health/live": {"get": operation("serverLive", "The process is running.", "ServerLive")},
        "/v2/health/ready": {"get": operation("serverReady", "Ready to predict.", "ServerReady")},
        "/v2/models": {"get": operation("servedModels", "The names of the served models.", "ServedModels")},
        "/v2/models/stats": {"get": operation("allStatistics", "Statistics of all models.", "StatisticsList")},
    }


def _models(place: str, of: str, parameters: list[Any], predictors: Iterable[Predictor]) -> dict[str, Any]:
    """The paths of a model, or of one version of it."""
    tensors = {each.spec.name: _tensors(each) for each in predictors}
    examples = {
        model: {"value": {"inputs": inputs}}
        for model, inputs in tensors.items()
        if sum(len(tensor["data"]) for tensor in inputs) <= MAX_EXAMPLE_NUMBERS
    }
    name = of.lower()
    infer, explain = ("infer", "explainTensors") if of == "Model" else ("inferVersion", "explainVersion")
    inferred = operation(infer, "Predict from tensors.", "InferResponse", parameters)
    explained = operation(
        explain,
        "Predict and explain from tensors.",
        "ExplainTensorsResponse",
        [*parameters, IDEMPOTENCY_KEY],
    )
    return {
        place: {"get": operation(f"{name}Metadata", "The model's tensors.", "ModelMetadata", parameters)},
        f"{place}/ready": {"get": operation(f"{name}Ready", "The model is served.", "ModelReady", parameters)},
        f"{place}/stats": {"get": operation(f"{name}Statistics", "Its statistics.", "StatisticsList", parameters)},
        f"{place}/infer": {"post": with_binary(inferred, "InferRequest", examples)},
        f"{place}/explain": {"post": with_binary(explained, "ExplainTensorsRequest", examples)},
    }


def _repository() -> dict[str, Any]:
    index = operation("repositoryIndex", "All served versions.", None)
    listed = {"type": "array", "items": ref("IndexEntry")}
    index["responses"]["200"]["content"] = {JSON: {"schema": listed}}
    index["requestBody"] = {"content": content("IndexRequest")}
    place = "/v2/repository/models/{model}"
    return {
        "/v2/repository/index": {"post": index},
        f"{place}/load": {"post": operation("loadModel", "Load a model's newest builds.", None, [NEW_MODEL])},
        f"{place}/unload": {"post": operation("unloadModel", "Unload a model.", None, [MODEL])},
        f"{place}/versions/{{version}}/unload": {
            "post": operation("unloadVersion", "Unload a version.", None, [MODEL, VERSION])
        },
    }


def _tensors(predictor: Predictor) -> list[dict[str, Any]]:
    """The model's example request as tensors."""
    arrays = predictor.arrays(predictor.manifest.example["instances"])
    return [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": name_of(array.dtype),
            "data": [float(str(x)) if array.dtype.kind == "f" else x.item() for x in array.reshape(-1)],
        }
        for name, array in arrays.items()
    ]
