"""GET /models, /models/{name}: the served models, and how well each method explains them."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.middleware.answers import json_response
from whyserve.api.openapi.components import content
from whyserve.api.openapi.responses import ModelList
from whyserve.api.state import Service

router = APIRouter(tags=["models"])


@router.get("/models", operation_id="listModels", response_model=ModelList)
async def list_models(request: Request) -> Response:
    """The served models."""
    service: Service = request.app.state.service
    listed = [
        {
            **predictor.spec.model_dump(include={"name", "version", "framework", "task", "description"}),
            "outputs": predictor.spec.output_names,
            "method": predictor.manifest.certificate["default"],
            **({"providers": used} if (used := predictor.accelerators) else {}),
        }
        for predictor in service.catalog
    ]
    return json_response({"models": listed})


# openapi/document.py adds this component.
DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The model.", "content": content("ModelDescription")}
}


@router.get("/models/{name}", operation_id="getModel", response_class=Response, responses=DESCRIBED)
async def show_model(request: Request, name: str) -> Response:
    """A model's manifest, with its inputs, outputs, parity and certificate of explainability."""
    service: Service = request.app.state.service
    predictor = service.catalog.get(name)
    manifest = predictor.manifest.model_dump(mode="json", exclude_none=True)
    # An unknown distance is null in the file. An answer leaves it out.
    manifest["certificate"]["methods"] = {
        method: _without_null(trial) for method, trial in manifest["certificate"]["methods"].items()
    }
    return json_response({"manifest": predictor.digest, **manifest})


def _without_null(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: _without_null(x) if isinstance(x, dict) else x for key, x in figures.items() if x is not None}
