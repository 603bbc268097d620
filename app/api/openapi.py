"""The OpenAPI document: FastAPI's own, and with it the two endpoints whose types follow the models."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from app.api import schemas
from app.api.documents import PROBLEMS, ExplanationState, Problem
from app.api.service import Service
from app.manifest import Manifest

REF = "#/components/schemas/{model}"
DESCRIPTION = "Predictions from ONNX Runtime, and for every one its SHAP values, computed on the original network."


def document(app: FastAPI, service: Service) -> dict[str, Any]:
    """The whole document, for the models being served."""
    base = get_openapi(title="Whyserve", version=app.version, description=DESCRIPTION, routes=app.routes)
    manifests = [predictor.manifest for predictor in service.catalog]
    most = service.settings.max_instances
    longest = max(most, service.settings.max_summary_rows)
    components = base.setdefault("components", {}).setdefault("schemas", {})
    base["paths"]["/predict"] = {
        "post": _operation("predict", "Predict", manifests, components, lambda m: schemas.predict_request(m, most))
    }
    base["paths"]["/explain"] = {
        "post": _operation("explain", "Explain", manifests, components, lambda m: schemas.explain_request(m, longest))
    }
    for shared in (Problem, ExplanationState):
        _add(components, shared, "serialization")
    base["paths"]["/explain"]["post"]["responses"]["202"] = {
        "description": "Accepted; it is being computed, or waits for that.",
        "headers": {"Location": {"description": "Where its state is.", "schema": {"type": "string"}}},
        "content": {"application/json": {"schema": {"$ref": REF.format(model="ExplanationState")}}},
    }
    # FastAPI's own error body is never sent here.
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    for path in base["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    return base


def _operation(
    name: str,
    kind: str,
    manifests: list[Manifest],
    components: dict[str, Any],
    request: Callable[[Manifest], Any],
) -> dict[str, Any]:
    response = schemas.predict_response if kind == "Predict" else schemas.explain_response
    for manifest in manifests:
        _add(components, request(manifest), "validation")
        _add(components, response(manifest), "serialization")
    _union(components, f"{kind}Request", manifests)
    _union(components, f"{kind}Response", manifests)
    return {
        "operationId": name,
        "tags": [name],
        "summary": "Predict" if kind == "Predict" else "Predict, and say why",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": REF.format(model=f"{kind}Request")},
                    "examples": {m.spec.name: {"value": m.example} for m in manifests},
                }
            },
        },
        "responses": {
            "200": {
                "description": "One answer an instance, in their order.",
                "content": {"application/json": {"schema": {"$ref": REF.format(model=f"{kind}Response")}}},
            },
            **{str(status): problem for status, problem in PROBLEMS.items()},
        },
    }


def _add(components: dict[str, Any], of: Any, mode: JsonSchemaMode) -> None:
    schema = TypeAdapter(of).json_schema(mode=mode, ref_template=REF)
    components.update(schema.pop("$defs", {}))
    components.setdefault(schema["title"], schema)


def _union(components: dict[str, Any], name: str, manifests: list[Manifest]) -> None:
    """One of the models' types, told apart by `model`."""
    refs = {m.spec.name: REF.format(model=f"{schemas.type_name(m.spec.name)}{name}") for m in manifests}
    components[name] = {
        "title": name,
        "oneOf": [{"$ref": ref} for ref in refs.values()],
        "discriminator": {"propertyName": "model", "mapping": refs},
    }
