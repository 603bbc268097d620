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
RESPONSES = {
    "Predict": responses.predict_response,
    "Explain": responses.explain_response,
    "Counterfactual": counterfactual.counterfactual_response,
}
SUMMARIES = {
    "Predict": "Predict",
    "Explain": "Predict and explain",
    "Counterfactual": "The nearest rows for which the model decides otherwise",
}


def document(app: FastAPI, service: Service) -> dict[str, Any]:
    """The complete document, for the served models."""
    base = get_openapi(title="Whyserve", version=app.version, description=DESCRIPTION, routes=app.routes)
    predictors, settings = list(service.catalog), service.settings
    manifests = [predictor.manifest for predictor in predictors]
    limit = settings.max_instances
    explain_limit = max(limit, settings.max_summary_rows)
    components = base.setdefault("components", {}).setdefault("schemas", {})
    _add_models(components, manifests)
    add_protocols(base, predictors, limit)
    base["paths"]["/predict"] = {
        "post": _operation("predict", "Predict", manifests, components, lambda m: requests.predict_request(m, limit))
    }
    explain = _operation(
        "explain", "Explain", manifests, components, lambda m: requests.explain_request(m, explain_limit)
    )
    explain["parameters"] = [parameter("Prefer", "header", PREFER), IDEMPOTENCY_KEY]
    explain["responses"]["200"]["headers"] = CACHED
    explain["responses"]["200"]["content"] |= PICTURES
    explain["responses"]["202"] = {
        "description": "Accepted. The explanation is waiting or being computed.",
        "headers": {"Location": header("The address of its state.")},
        "content": content("ExplanationState"),
    }
    base["paths"]["/explain"] = {"post": explain}
    tables = [manifest for manifest in manifests if manifest.spec.is_table]
    if tables:
        request = counterfactual.counterfactual_request
        base["paths"]["/counterfactual"] = {
            "post": _operation("counterfactual", "Counterfactual", tables, components, request)
        }
    # The service never sends FastAPI's own error body.
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    guard(base, keyed=settings.is_guarded)
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


def _operation(
    name: str,
    kind: str,
    manifests: list[Manifest],
    components: dict[str, Any],
    request: Callable[[Manifest], Any],
) -> dict[str, Any]:
    response = RESPONSES[kind]
    for manifest in manifests:
        add(components, request(manifest), "validation")
        add(components, response(manifest), "serialization")
    _add_union(components, f"{kind}Request", manifests)
    _add_union(components, f"{kind}Response", manifests)
    examples = {m.spec.name: {"value": m.example} for m in manifests}
    return {
        "operationId": name,
        "tags": [name],
        "summary": SUMMARIES[kind],
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": ref(f"{kind}Request"), "examples": examples}},
        },
        "responses": {
            "200": {"description": "One result per instance, in the same order.", "content": content(f"{kind}Response")}
        },
    }


def _add_union(components: dict[str, Any], name: str, manifests: list[Manifest]) -> None:
    add_union(components, name, {m.spec.name: f"{type_name(m.spec.name)}{name}" for m in manifests})
