"""A job's state as JSON: the body of GET /explanations/{id} and of the events."""

from typing import Any

import orjson

from whyserve.jobs import JobState


def state_json(state: JobState) -> bytes:
    """As ExplanationState in the OpenAPI document."""
    shown: dict[str, Any] = {"id": state.id, "status": state.status.value, "progress": state.progress}
    if state.standard_error is not None:
        shown["standard_error"] = state.standard_error
    if state.error:
        shown["error"] = {"code": state.error.code, "detail": state.error.message}
    if state.result is not None:
        shown["result"] = orjson.Fragment(state.result)
    return orjson.dumps(shown)
