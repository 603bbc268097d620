"""Operations and parameters that the paths of the protocols share."""

from collections.abc import Iterable
from typing import Any

from whyserve.api.openapi.components import JSON, content, ref
from whyserve.model.spec import LONGEST_NAME, NAME

BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
LENGTH = {
    "description": "In a body with tensors as bytes: the length of the JSON before them, in bytes.",
    "schema": {"type": "integer", "minimum": 0},
}
MODEL = {"name": "model", "in": "path", "required": True, "schema": ref("ModelName")}
NEW_MODEL = {**MODEL, "schema": {"type": "string", "pattern": NAME, "maxLength": LONGEST_NAME}}
VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9]{1,9}$"}}


def operation(name: str, summary: str, response: str | None, parameters: Iterable[Any] = ()) -> dict[str, Any]:
    """response: a component, or None for an empty object."""
    body = content(response) if response else {JSON: {"schema": {"type": "object"}}}
    made: dict[str, Any] = {"operationId": name, "tags": ["oip"], "summary": summary}
    if parameters:
        made["parameters"] = list(parameters)
    return {**made, "responses": {"200": {"description": summary, "content": body}}}


def with_binary(described: dict[str, Any], request: str, examples: dict[str, Any]) -> dict[str, Any]:
    """Add the binary extension: request and response may have tensors as bytes after the JSON."""
    header = {"name": "Inference-Header-Content-Length", "in": "header", "required": False, **LENGTH}
    described["parameters"].append(header)
    described["requestBody"] = {
        "required": True,
        "description": "JSON, or JSON followed by tensors' bytes, or one tensor's bytes. gzip and deflate are allowed.",
        "content": {JSON: {"schema": ref(request), "examples": examples}, **BYTES},
    }
    success = described["responses"]["200"]
    success["headers"] = {header["name"]: LENGTH}
    success["content"] = {**success["content"], **BYTES}
    return described
