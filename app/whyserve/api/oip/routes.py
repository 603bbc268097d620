"""The routes of the Open Inference Protocol, of Triton's extensions to it, and of KServe's V1 protocol."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from whyserve.api.oip import explain, repository, server, v1
from whyserve.api.oip.infer import Infer

Endpoint = Callable[[Request], Awaitable[Response]]


def oip_routes(infer: Infer) -> list[Route]:
    return [
        _get("/v2", server.server),
        _get("/v2/", server.server),
        _get("/v2/health/live", server.live),
        _get("/v2/health/ready", server.ready),
        _get("/v2/models", server.models),
        _post("/v2/repository/index", server.index),
        _post("/v2/repository/models/{model}/load", repository.load),
        _post("/v2/repository/models/{model}/unload", repository.unload),
        _post("/v2/repository/models/{model}/versions/{version}/unload", repository.unload),
        _get("/v2/models/stats", server.all_statistics),
        *(
            route
            for place in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
            for route in (
                _get(place, server.model),
                _get(f"{place}/ready", server.model_ready),
                _get(f"{place}/stats", server.statistics),
                Route(f"{place}/infer", infer, methods=["POST"]),
                _post(f"{place}/explain", explain.explain),
            )
        ),
        _get("/v1/models", v1.models),
        _get("/v1/models/{model}", v1.model),
        _post("/v1/models/{model}:predict", v1.predict),
        _post("/v1/models/{model}:explain", v1.explain),
    ]


def _get(path: str, endpoint: Endpoint) -> Route:
    return Route(path, _counted(path, endpoint), methods=["GET"])


def _post(path: str, endpoint: Endpoint) -> Route:
    return Route(path, _counted(path, endpoint), methods=["POST"])


def _counted(path: str, endpoint: Endpoint) -> Endpoint:
    """Sets the route for the metrics, because a Starlette route does not do it."""

    async def counted(request: Request) -> Response:
        request.scope["state"]["route"] = path
        return await endpoint(request)

    return counted
