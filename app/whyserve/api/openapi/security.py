"""Security schemes and common error responses of each operation in the OpenAPI document."""

from typing import Any

from whyserve.api.middleware.auth import ANY, OPEN, required_scope
from whyserve.api.openapi.components import content, header

PROBLEM = content("Problem", "application/problem+json")
OIP_ERROR = content("OipError")
RETRY_AFTER = {"Retry-After": header("Seconds to wait before a retry.", type="integer")}
SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key that `whyserve key` has printed."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key, in a header."},
}


def guard(document: dict[str, Any], *, keyed: bool) -> None:
    """Add keys and error responses to every operation. keyed: whether this service requires keys."""
    document["components"]["securitySchemes"] = SCHEMES
    if not keyed:
        # Another deployment may require keys, so a client that is generated from this document can send one.
        document["security"] = [{}, *({name: []} for name in SCHEMES)]
    for path, verbs in document["paths"].items():
        for operation in verbs.values():
            _guard(path, operation, keyed)


def _guard(path: str, operation: dict[str, Any], keyed: bool) -> None:
    # Each protocol has an error body of its own.
    scope, body = required_scope(path), OIP_ERROR if path.startswith(("/v1/", "/v2")) else PROBLEM

    def refusal(words: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"description": words, **({"headers": headers} if headers else {}), "content": body}

    refused: dict[str, Any] = {}
    if scope == OPEN:
        operation["security"] = []
    else:
        roles = [] if scope == ANY else [scope]
        if keyed:
            operation["security"] = [{name: roles} for name in SCHEMES]
        refused["401"] = refusal("A valid key is missing.", {"WWW-Authenticate": header("How to send a key.")})
        if roles:
            refused["403"] = refusal(f"The key does not have the scope {scope}.")
    if "requestBody" in operation:
        refused["413"] = refusal("The body is too large.")
    if not path.startswith("/health/"):
        refused["429"] = refusal("The key has used its request or explanation limit.", RETRY_AFTER)
    refused["4XX"] = refusal("The request is wrong. The detail says what and where.")
    refused["5XX"] = refusal("The service cannot answer now. The detail says why.", RETRY_AFTER)
    # The service never sends FastAPI's own error body.
    successes = {status: each for status, each in operation["responses"].items() if status[0] in "23"}
    operation["responses"] = successes | refused
