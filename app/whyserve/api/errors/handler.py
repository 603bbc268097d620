"""Any exception as a response, in the form of the request's protocol. Faults of the service are logged."""

import logging

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from whyserve.api.errors.problems import HTTP_CODES, from_domain, headers_of, problem, status_of
from whyserve.errors import WhyserveError

log = logging.getLogger("whyserve.api")

# Only for the log and the metrics: the caller has closed the connection.
CLIENT_GONE = 499
UNEXPECTED = "internal error; the service's log has the details"


def from_exception(path: str, error: Exception) -> Response:
    """path: the request's path, which decides the form."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=CLIENT_GONE)
    is_oip = path.startswith(("/v1/", "/v2/")) or path == "/v2"
    if isinstance(error, HTTPException):
        status, headers = error.status_code, dict(error.headers or {})
        code = HTTP_CODES.get(status, "http_error")
        return _oip_error(status, error.detail, headers) if is_oip else problem(status, code, error.detail, headers)
    if not isinstance(error, WhyserveError):
        log.error("unexpected", exc_info=error)
        return _oip_error(500, UNEXPECTED) if is_oip else problem(500, "internal", UNEXPECTED)
    status = status_of(error)
    if status == 500:
        log.error("%s: %s", error.code, error.message)
    # The Open Inference Protocol has no 422, and its clients take it for an error of FastAPI.
    if is_oip:
        return _oip_error(400 if status == 422 else status, error.message, headers_of(error))
    return from_domain(error)


def _oip_error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """The form of every error under /v1 and /v2."""
    return Response(orjson.dumps({"error": message}), status, headers, media_type="application/json")


async def on_exception(request: Request, error: Exception) -> Response:
    return from_exception(request.url.path.removeprefix(request.scope.get("root_path", "")), error)
