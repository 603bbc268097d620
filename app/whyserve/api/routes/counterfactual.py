"""POST /counterfactual."""

from codecs import BOM_UTF8
from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.explain.counterfactuals import Counterfactuals
from whyserve.api.middleware.answers import json_response
from whyserve.api.state import Service
from whyserve.predict.decisions import Options


async def counterfactual(request: Request) -> Response:
    """The nearest rows for which the model decides otherwise."""
    service: Service = request.app.state.service
    searches: Counterfactuals = request.app.state.counterfactuals
    body = service.parse(service.counterfactual_adapter, (await request.body()).removeprefix(BOM_UTF8))
    predictor = service.catalog.get(body["model"], body.get("version"))
    spec = predictor.spec
    request.scope["state"]["model"] = spec.name
    arrays = await predictor.read(body["instances"])
    found = await searches.find(request, predictor, arrays, cast("Options", body))
    answer = {"model": spec.name, "version": spec.version, "manifest": predictor.digest, "counterfactuals": found}
    return json_response(answer)
