"""The paths of KServe's V1 protocol in the OpenAPI document."""

from collections.abc import Iterable
from typing import Any

from whyserve.api.openapi.components import IDEMPOTENCY_KEY, JSON, ref
from whyserve.api.openapi.oip_operations import MODEL, operation
from whyserve.predict.predictor import Predictor


def kserve_paths(predictors: Iterable[Predictor]) -> dict[str, Any]:
    examples = {each.spec.name: {"value": {"instances": each.manifest.example["instances"]}} for each in predictors}
    found: dict[str, Any] = {
        "/v1/models": {"get": operation("kserveModels", "The names of the served models.", "ServedModels")},
        "/v1/models/{model}": {"get": operation("kserveModel", "The model is served.", "ModelReady", [MODEL])},
    }
    for verb, summary, response in (
        ("predict", "Predict.", "KservePredictResponse"),
        ("explain", "Predict and explain.", "ExplainResponse"),
    ):
        kind = f"Kserve{verb.capitalize()}"
        parameters = [MODEL, IDEMPOTENCY_KEY] if verb == "explain" else [MODEL]
        described = operation(f"kserve{verb.capitalize()}", summary, response, parameters)
        body = {"schema": ref(f"{kind}Request"), "examples": examples}
        described["requestBody"] = {"required": True, "content": {JSON: body}}
        found[f"/v1/models/{{model}}:{verb}"] = {"post": described}
    for path in found.values():
        for described in path.values():
            described["tags"] = ["kserve"]
    return found
