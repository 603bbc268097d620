"""The OpenAPI document: FastAPI's own, and with it the endpoints whose types follow the models, and the protocols'."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from whyserve.api.openapi.components import IDEMPOTENCY_KEY, JSON, add, add_dumped, add_union, content, ref
from whyserve.api.openapi.oip import add_paths
from whyserve.api.openapi.responses import PICTURES, Certificate, ExplanationState, Problem
from whyserve.api.openapi.security import guard
from whyserve.api.schemas import models as schemas
from whyserve.api.schemas.summary import summary_response
from whyserve.api.state import Service
from whyserve.model.manifest import Manifest

DESCRIPTION = "Predictions from ONNX Runtime, and for every one its SHAP values, computed on the original network."
WISHES: list[dict[str, Any]] = [
    {
        "name": "Prefer",
        "in": "header",
        "required": False,
        "description": "respond-async: answer 202 at once. wait=10: answer 202 unless it is there within so many s.",
        "schema": {"type": "string"},
    },
    IDEMPOTENCY_KEY,
]
CACHED = {"X-Cache": {"description": "hit where it was known.", "schema": {"type": "string", "enum": ["hit", "miss"]}}}
LOCATION = {"Location": {"description": "Where its state is.", "schema": {"type": "string"}}}


def document(app: FastAPI, service: Service) -> dict[str, Any]:
    """The whole document, for the models being served."""
    base = get_openapi(title="Whyserve", version=app.version, description=DESCRIPTION, routes=app.routes)
    predictors, settings = list(service.catalog), service.settings
    manifests = [predictor.manifest for predictor in predictors]
    most = settings.max_instances
    longest = max(most, settings.max_summary_rows)
    components = base.setdefault("components", {}).setdefault("schemas", {})
    _add_models(components, manifests)
    base["paths"]["/predict"] = {
        "post": _operation("predict", "Predict", manifests, components, lambda m: schemas.predict_request(m, most))
    }
    explain = _operation("explain", "Explain", manifests, components, lambda m: schemas.explain_request(m, longest))
    explain["parameters"] = WISHES
    explain["responses"]["200"]["headers"] = CACHED
    explain["responses"]["200"]["content"] |= PICTURES
    explain["responses"]["202"] = {
        "description": "Accepted; it is being computed, or waits for that.",
        "headers": LOCATION,
        "content": content("ExplanationState"),
    }
    base["paths"]["/explain"] = {"post": explain}
    add_paths(base, predictors, most)
    # FastAPI's own error body is never sent here.
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    guard(base, keyed=bool(settings.keys or settings.keys_file))
    return base


def _add_models(components: dict[str, Any], manifests: list[Manifest]) -> None:
    """What is said of models, and of how far an explanation of one is."""
    for shared in (Problem, ExplanationState, Certificate):
        add(components, shared, "serialization")
    for manifest in manifests:
        add(components, summary_response(manifest), "serialization")
    _add_union(components, "SummaryResponse", manifests)
    results = [ref("ExplainResponse"), ref("SummaryResponse")]
    components["ExplanationResult"] = {"title": "ExplanationResult", "oneOf": results}
    components["ExplanationState"]["properties"]["result"] = ref("ExplanationResult")
    add_dumped(components, Manifest)
    described = components.pop("Manifest")
    digest = {"type": "string", "description": "SHA-256 of the manifest."}
    own = {"manifest": digest, "example": ref("PredictRequest"), "certificate": ref("Certificate")}
    described["title"] = "ModelDescription"
    described["description"] = "A model's manifest: its features, its parity, its certificate of explainability."
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
    response = schemas.predict_response if kind == "Predict" else schemas.explain_response
    for manifest in manifests:
        add(components, request(manifest), "validation")
        add(components, response(manifest), "serialization")
    _add_union(components, f"{kind}Request", manifests)
    _add_union(components, f"{kind}Response", manifests)
    examples = {m.spec.name: {"value": m.example} for m in manifests}
    return {
        "operationId": name,
        "tags": [name],
        "summary": "Predict" if kind == "Predict" else "Predict, and say why",
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": ref(f"{kind}Request"), "examples": examples}},
        },
        "responses": {
            "200": {"description": "One answer an instance, in their order.", "content": content(f"{kind}Response")}
        },
    }


def _add_union(components: dict[str, Any], name: str, manifests: list[Manifest]) -> None:
    add_union(components, name, {m.spec.name: f"{schemas.type_name(m.spec.name)}{name}" for m in manifests})
