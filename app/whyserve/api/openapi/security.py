"""What any operation may be refused with: who may not ask, what is too large, who asks too often."""

from typing import Any

from whyserve.api.middleware.auth import ANY, OPEN, needed
from whyserve.api.openapi.components import content

PROBLEM = content("Problem", "application/problem+json")
OIP_ERROR = content("OipError")
RETRY_AFTER = {"Retry-After": {"description": "Seconds after which to ask again.", "schema": {"type": "integer"}}}
SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key, as `whyserve key` prints it."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key, in a header."},
}


def errors_of(path: str) -> dict[str, Any]:
    """An error's body: each protocol has its own form."""
    return OIP_ERROR if path.startswith(("/v1/", "/v2")) else PROBLEM


def guard(document: dict[str, Any], *, keyed: bool) -> None:
    """Say of every operation which key it needs and how it may be refused. keyed: nothing is answered without."""
    document["components"]["securitySchemes"] = SCHEMES
    if not keyed:
        # Keys are a deployment's choice: a client made of this document may bring one, and need not.
        document["security"] = [{}, *({name: []} for name in SCHEMES)]
    for path, verbs in document["paths"].items():
        for operation in verbs.values():
            _guard(path, operation, keyed)


def _guard(path: str, operation: dict[str, Any], keyed: bool) -> None:
    scope, body = needed(path), errors_of(path)
    refused: dict[str, Any] = {}
    if scope == OPEN:
        operation["security"] = []
    else:
        roles = [] if scope == ANY else [scope]
        if keyed:
            operation["security"] = [{name: roles} for name in SCHEMES]
        asks = {"WWW-Authenticate": {"description": "How to bring a key.", "schema": {"type": "string"}}}
        refused["401"] = {"description": "It needs a key that is known here.", "headers": asks, "content": body}
        if roles:
            refused["403"] = {"description": f"The key has not the scope {scope}.", "content": body}
    if "requestBody" in operation:
        refused["413"] = {"description": "The body is too large.", "content": body}
    if not path.startswith("/health/"):
        refused["429"] = {
            "description": "This key asks too often or too much.",
            "headers": RETRY_AFTER,
            "content": body,
        }
    ranges = {
        "4XX": {"description": "What is wrong with the request, and where.", "content": body},
        "5XX": {"description": "Why it cannot be answered now.", "headers": RETRY_AFTER, "content": body},
    }
    # FastAPI's own error body is never sent here.
    answered = {status: each for status, each in operation["responses"].items() if status[0] in "23"}
    operation["responses"] = answered | refused | ranges
