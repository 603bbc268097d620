"""Domain errors → the Open Inference Protocol's error: {"error": "…"}, with the protocol's statuses."""

import orjson
from starlette.responses import Response

from whyserve.api.errors.problems import headers_of, status_of
from whyserve.errors import WhyserveError


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """The form of every error under /v1 and /v2."""
    return Response(orjson.dumps({"error": message}), status, headers, media_type="application/json")


def from_domain(error: WhyserveError) -> Response:
    status = status_of(error)
    # The protocol has no 422, and its clients take it for an error of FastAPI.
    return error_response(400 if status == 422 else status, error.message, headers_of(error))
