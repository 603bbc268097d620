"""The OpenAPI document: FastAPI's, plus the endpoints whose types depend on the models, plus the protocols' paths."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from whyserve.api.openapi.components import (
    IDEMPOTENCY_KEY,
    JSON,
    add,
    add_dumped,
    add_union,
    content,
    header,
    parameter,
    ref,
)
from whyserve.api.openapi.oip import add_protocols
from whyserve.api.openapi.responses import PICTURES, Certificate, ExplanationState, Problem
from whyserve.api.openapi.security import guard
from whyserve.api.schemas import counterfactual, requests, responses
from whyserve.api.schemas.types import type_name
from whyserve.api.state import Service
from whyserve.model.manifest import Manifest

DESCRIPTION = "Predictions from ONNX Runtime, and SHAP values for each, computed on the original network."
PREFER = "respond-async: answer 202 at once. wait=10: answer 202 if there is no result within 10 s."
TIMING = "queue: milliseconds until a worker began, and of the way back. compute: of the computation."
CACHED = {
    "X-Cache": header("hit: the result was in the cache.", enum=["hit", "miss"]),
    "Server-Timing": header(TIMING),
}
# By kind: the summary of the operation, and the type of its answer.
KINDS = {
    "Predict": ("Predict", responses.predict_response),
    "Explain": ("Predict and explain", responses.explain_response),
    "Counterfactual": (
        "The nearest rows for which the model decides otherwise",
        counterfactual.counterfactual_response,
    ),
}


def document(app: FastAPI, service: Service) -> dict[str, Any]:
    """The complete document, for the served models."""
    base = get_openapi(title="Whyserve", version=app.version, description=DESCRIPTION, routes=app.routes)
    predictors, limit = list(service.catalog), service.settings.max_instances
    manifests = [predictor.manifest for predictor in predictors]
    components = base.setdefault("components", {}).setdefault("schemas", {})
    _add_models(components, manifests)
    add_protocols(base, predictors, limit)
    _add_operation(base, "Predict", manifests, lambda manifest: requests.predict_request(manifest, limit))
    explain = _add_operation(
        base, "Explain", manifests, lambda manifest: requests.explain_request(manifest, service.explain_limit)
    )
    explain["parameters"] = [parameter("Prefer", "header", PREFER), IDEMPOTENCY_KEY]
    explain["responses"]["200"]["headers"] = CACHED
    explain["responses"]["200"]["content"] |= PICTURES
    explain["responses"]["202"] = {
        "description": "Accepted. The explanation is waiting or being computed.",
        "headers": {"Location": header("The address of its state.")},
        "content": content("ExplanationState"),
    }
    if tables := [manifest for manifest in manifests if manifest.spec.is_table]:
        _add_operation(base, "Counterfactual", tables, counterfactual.counterfactual_request)
    # The service never sends FastAPI's own error body.
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    guard(base, keyed=service.settings.is_guarded)
    return base


def _add_models(components: dict[str, Any], manifests: list[Manifest]) -> None:
    """Add the types of models, summaries and explanation states."""
    for shared in (Problem, ExplanationState, Certificate):
        add(components, shared, "serialization")
    for manifest in manifests:
        add(components, responses.summary_response(manifest), "serialization")
    _add_union(components, "SummaryResponse", manifests)
    results = [ref("ExplainResponse"), ref("SummaryResponse")]
    components["ExplanationResult"] = {"title": "ExplanationResult", "oneOf": results}
    components["ExplanationState"]["properties"]["result"] = ref("ExplanationResult")
    add_dumped(components, Manifest)
    described = components.pop("Manifest")
    digest = {"type": "string", "description": "SHA-256 of the manifest."}
    own = {"manifest": digest, "example": ref("PredictRequest"), "certificate": ref("Certificate")}
    described["title"] = "ModelDescription"
    described["description"] = "A model's manifest, with its inputs, outputs, parity and certificate of explainability."
    described["properties"] = {**described["properties"], **own}
    described["required"] = ["manifest", *described["required"]]
    components["ModelDescription"] = described


def _add_operation(
    base: dict[str, Any], kind: str, manifests: list[Manifest], request: Callable[[Manifest], Any]
) -> dict[str, Any]:
    """Add POST /predict, for the kind Predict, with the types of requests and answers of each model."""
    name, (summary, response), components = kind.lower(), KINDS[kind], base["components"]["schemas"]
    for manifest in manifests:
        add(components, request(manifest), "validation")
        add(components, response(manifest), "serialization")
    _add_union(components, f"{kind}Request", manifests)
    _add_union(components, f"{kind}Response", manifests)
    examples = {m.spec.name: {"value": m.example} for m in manifests}
    operation = {
        "operationId": name,
        "tags": [name],
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": ref(f"{kind}Request"), "examples": examples}},
        },
        "responses": {
            "200": {"description": "One result per instance, in the same order.", "content": content(f"{kind}Response")}
        },
    }
    base["paths"][f"/{name}"] = {"post": operation}
    return operation


def _add_union(components: dict[str, Any], name: str, manifests: list[Manifest]) -> None:
    add_union(components, name, {m.spec.name: f"{type_name(m.spec.name)}{name}" for m in manifests})
