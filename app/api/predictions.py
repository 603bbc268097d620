"""POST /predict."""

import orjson
from starlette.requests import Request
from starlette.responses import Response

from app.api.service import Service


async def predict(request: Request) -> Response:
    service: Service = request.app.state.service
    asked = service.read(service.predict_adapter, await request.body())
    predictor = service.catalog.get(asked["model"], asked.get("version"))
    answer = {
        "model": predictor.spec.name,
        "version": predictor.spec.version,
        "predictions": predictor.predict(asked["instances"]),
    }
    return Response(orjson.dumps(answer), media_type="application/json")
