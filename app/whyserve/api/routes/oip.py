"""The routes of the Open Inference Protocol, of Triton's extensions to it, and of KServe's V1 protocol."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.oip import explain, repository, server, v1
from whyserve.api.oip.infer import Infer
from whyserve.api.openapi import oip_responses as answers
from whyserve.api.openapi.components import IDEMPOTENCY_KEY, JSON, content, header, parameter, ref
from whyserve.model.spec import LONGEST_NAME, NAME

MODEL = {"name": "model", "in": "path", "required": True, "schema": ref("ModelName")}
NEW_MODEL = {**MODEL, "schema": {"type": "string", "pattern": NAME, "maxLength": LONGEST_NAME}}
VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9]{1,9}$"}}
PARAMETERS = {"model": MODEL, "version": VERSION}
# The binary extension: request and answer may have tensors as bytes after the JSON.
BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
LENGTH_NAME = "Inference-Header-Content-Length"
LENGTH = "In a body with tensors as bytes: the length of the JSON before them, in bytes."
LENGTH_HEADER = parameter(LENGTH_NAME, "header", LENGTH, type="integer", minimum=0)
BINARY_ANSWER = {200: {"headers": {LENGTH_NAME: header(LENGTH, type="integer", minimum=0)}, "content": BYTES}}
BINARY_WORDS = "JSON, or JSON followed by tensors' bytes, or one tensor's bytes. gzip and deflate are allowed."

Endpoint = Callable[[Request], Awaitable[Response]]


def oip_router(infer: Infer, kserve: v1.Predict) -> APIRouter:
    """The OpenAPI document names types that depend on the models; api/openapi/oip.py adds them."""
    router = APIRouter()
    get, post = _adder(router, "GET", "oip"), _adder(router, "POST", "oip")
    router.add_api_route("/v2/", server.server, include_in_schema=False)
    get("/v2", server.server, "serverMetadata", answers.ServerMetadata)
    get("/v2/health/live", server.live, "serverLive", answers.ServerLive)
    get("/v2/health/ready", server.ready, "serverReady", answers.ServerReady)
    get("/v2/models", server.models, "servedModels", answers.ServedModels)
    get("/v2/models/stats", server.all_statistics, "allStatistics", answers.StatisticsList)
    for place, of, names in (
        ("/v2/models/{model}", "model", ("infer", "explainTensors")),
        ("/v2/models/{model}/versions/{version}", "version", ("inferVersion", "explainVersion")),
    ):
        get(place, server.model, f"{of}Metadata", answers.ModelMetadata)
        get(f"{place}/ready", server.model_ready, f"{of}Ready", answers.ModelReady)
        get(f"{place}/stats", server.statistics, f"{of}Statistics", answers.StatisticsList)
        body = {"required": True, "description": BINARY_WORDS, "content": {**content("InferRequest"), **BYTES}}
        post(f"{place}/infer", infer.infer, names[0], answers.InferResponse, [LENGTH_HEADER], body, BINARY_ANSWER)
        body = {**body, "content": {**content("ExplainTensorsRequest"), **BYTES}}
        headers = [LENGTH_HEADER, IDEMPOTENCY_KEY]
        answer = answers.ExplainTensorsResponse
        post(f"{place}/explain", explain.explain, names[1], answer, headers, body, BINARY_ANSWER)
    place = "/v2/repository/models/{model}"
    index_body = {"content": content("IndexRequest")}
    post("/v2/repository/index", server.index, "repositoryIndex", list[answers.IndexEntry], body=index_body)
    post(f"{place}/load", repository.load, "loadModel", parameters=[NEW_MODEL])
    post(f"{place}/unload", repository.unload, "unloadModel")
    post(f"{place}/versions/{{version}}/unload", repository.unload, "unloadVersion")
    _add_kserve(router, kserve)
    return router


def _add_kserve(router: APIRouter, kserve: v1.Predict) -> None:
    get, post = _adder(router, "GET", "kserve"), _adder(router, "POST", "kserve")
    get("/v1/models", server.models, "kserveModels", answers.ServedModels)
    get("/v1/models/{model}", server.model_ready, "kserveModel", answers.ModelReady)
    body = {"required": True, "content": content("KservePredictRequest")}
    post("/v1/models/{model}:predict", kserve.predict, "kservePredict", answers.KservePredictResponse, body=body)
    body = {"required": True, "content": content("KserveExplainRequest")}
    answer = {200: {"content": {JSON: {"schema": ref("ExplainResponse")}}}}
    headers = [IDEMPOTENCY_KEY]
    post("/v1/models/{model}:explain", v1.explain, "kserveExplain", None, headers, body, answer)


def _adder(router: APIRouter, verb: str, tag: str) -> Callable[..., None]:
    def add(  # noqa: PLR0917
        path: str,
        endpoint: Endpoint,
        name: str,
        answer: Any = dict[str, Any],
        parameters: Sequence[dict[str, Any]] = (),
        body: dict[str, Any] | None = None,
        responses: dict[int | str, dict[str, Any]] | None = None,
    ) -> None:
        """name: of the operation. answer: its type. parameters: besides those of the path, or instead of them."""
        found = {each: PARAMETERS[each] for each in re.findall(r"{(\w+)}", path)}
        found |= {each["name"]: each for each in parameters}
        described = {"parameters": list(found.values()), "requestBody": body}
        router.add_api_route(
            path,
            endpoint,
            methods=[verb],
            tags=[tag],
            operation_id=name,
            response_model=answer,
            responses=responses,
            openapi_extra={key: each for key, each in described.items() if each},
        )

    return add
