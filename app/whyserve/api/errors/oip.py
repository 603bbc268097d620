"""Domain errors → what clients of the Open Inference Protocol read: {"error": "…"}, with the protocol's statuses."""

import orjson
from starlette.responses import Response

from whyserve.api.errors.problems import headers_of, status_of
from whyserve.errors import WhyserveError


def fault(status: int, words: str, headers: dict[str, str] | None = None) -> Response:
    """The one shape of every error under /v1 and /v2."""
    return Response(orjson.dumps({"error": words}), status, headers, media_type="application/json")


def from_domain(error: WhyserveError) -> Response:
    status = status_of(error)
    # 422 is none of the protocol's statuses, and its clients take it for FastAPI's.
    return fault(400 if status == 422 else status, error.message, headers_of(error))
