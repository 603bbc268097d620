"""Any exception as a response, in the form of the request's protocol. Faults of the service are logged."""

import logging

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from whyserve.api.errors import oip, problems
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
        headers = dict(error.headers or {})
        if is_oip:
            return oip.error_response(error.status_code, error.detail, headers)
        code = problems.HTTP_CODES.get(error.status_code, "http_error")
        return problems.problem(error.status_code, code, error.detail, headers)
    if not isinstance(error, WhyserveError):
        log.error("unexpected", exc_info=error)
        return oip.error_response(500, UNEXPECTED) if is_oip else problems.problem(500, "internal", UNEXPECTED)
    if problems.status_of(error) == 500:
        log.error("%s: %s", error.code, error.message)
    return oip.from_domain(error) if is_oip else problems.from_domain(error)


async def on_exception(request: Request, error: Exception) -> Response:
    return from_exception(request.url.path.removeprefix(request.scope.get("root_path", "")), error)
