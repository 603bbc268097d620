"""Domain errors → HTTP, in one table: RFC 9457 problems with a stable code. They never repeat what was sent."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError
from starlette.responses import Response

from whyserve import errors
from whyserve.errors import WhyserveError
from whyserve.model.fill import TO_ALLOW
from whyserve.predict.catalog import unknown_model

T = TypeVar("T")
# The first matching class decides, so subclasses stand before their base classes.
STATUS: Sequence[tuple[type[WhyserveError], int]] = (
    (errors.MalformedBody, 400),
    (errors.Unauthorized, 401),
    (errors.Forbidden, 403),
    (errors.UnknownModel, 404),
    (errors.ExplanationGone, 410),
    (errors.UnknownExplanation, 404),
    (errors.PredictionGone, 410),
    (errors.UnknownPrediction, 404),
    (errors.NotAcceptable, 406),
    (errors.TooLarge, 413),
    (errors.UnsupportedMediaType, 415),
    (errors.RateLimited, 429),
    (errors.InvalidInput, 422),
    (errors.UnsupportedNetwork, 422),
    (errors.Unavailable, 503),
    (errors.ExplanationTimeout, 504),
    (errors.ExplanationCancelled, 409),
)
HTTP_CODES = {
    400: "malformed_request",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
}
REQUEST_SHAPE = '{"model": …, "instances": […]}'
MAX_FAULTS = 20
MAX_NAME_LENGTH = 100
ROWS = ("instances", "columns", "background")
UNKNOWN_FIELD = "is an unknown field"

# By pydantic's error type. {…} is filled from the error's context.
MESSAGES = {
    "missing": "is missing",
    "extra_forbidden": UNKNOWN_FIELD,
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
    "multiple_of": "must be a whole number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "too_long": "must hold at most {max_length}",
    "too_short": "must hold at least {min_length}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
}


def status_of(error: WhyserveError) -> int:
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """The form of every error outside /v1 and /v2."""
    body = {"type": f"urn:whyserve:{code}", "title": code.replace("_", " "), "status": status, "detail": detail,
            "code": code, **more}  # fmt: skip
    return Response(orjson.dumps(body), status, headers, media_type="application/problem+json")


def headers_of(error: WhyserveError) -> dict[str, str] | None:
    """WWW-Authenticate or Retry-After, where the error has one."""
    if isinstance(error, errors.Unauthorized):
        return {"WWW-Authenticate": 'Bearer realm="whyserve"'}
    return {"Retry-After": str(error.details["retry_after_s"])} if "retry_after_s" in error.details else None


def from_domain(error: WhyserveError) -> Response:
    shown = {key: error.details[key] for key in ("instance", "field", "errors") if key in error.details}
    if shown and "errors" not in shown:
        shown = {"errors": [{**shown, "message": error.message}]}
    return problem(status_of(error), error.code, error.message, headers_of(error), **shown)


def not_an_object(shape: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"the body must be an object: {shape}")


def validated(parse: Callable[[], T], known_models: Sequence[str] = (), shape: str = REQUEST_SHAPE) -> T:
    """What pydantic parses. Raises its error as a domain error. shape: a valid body, for the message."""
    try:
        return parse()
    except ValidationError as error:
        raise _from_validation(error, known_models, shape) from None


def _from_validation(error: ValidationError, known_models: Sequence[str], shape: str) -> WhyserveError:
    found = error.errors(include_url=False, include_context=True)
    first = found[0]
    if first["type"] == "json_invalid":
        return errors.MalformedBody("the body is not JSON: " + first["msg"].removeprefix("Invalid JSON: "))
    if first["type"] == "union_tag_invalid" or (first["type"] == "literal_error" and first["loc"] == ("model",)):
        return unknown_model(known_models)
    if first["type"] == "union_tag_not_found":
        return errors.InvalidInput('"model" is missing, or is not a string', field="model")
    if not first["loc"]:
        return not_an_object(shape)
    faults = [_fault(item, known_models) for item in found[:MAX_FAULTS]]
    kind = errors.TooManyInstances if _is_too_many(first) else errors.InvalidInput
    more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
    return kind(faults[0]["message"] + more, errors=faults)


def _is_too_many(item: Any) -> bool:
    return bool(item["type"] == "too_long" and (item["loc"][-1] == "instances" or item["loc"][-2:-1] == ("columns",)))


def _fault(item: Any, known_models: Sequence[str]) -> dict[str, Any]:
    """One fault: the instance, the field, and a message."""
    # pydantic's place starts with the union's tag, and has parts such as "list[str]" that no caller knows.
    place = [p for p in item["loc"] if isinstance(p, int) or not ("[" in p or p.startswith("constrained"))]
    if place and place[0] in known_models:
        place = place[1:]
    template = MESSAGES.get(item["type"])
    limits = {key: int(x) if isinstance(x, float) and x.is_integer() else x for key, x in item.get("ctx", {}).items()}
    message = template.format(**limits) if template else item["msg"]
    if item["input"] is None and len(place) > 2 and place[0] in ROWS:
        message += f"; {TO_ALLOW}"
    if place[:1] == ["instances"] and len(place) > 1 and isinstance(place[1], int):
        inside = _path(place[2:])
        where = f'instances[{place[1]}]: "{inside}"' if inside else f"instances[{place[1]}]"
        field = {"field": inside} if inside else {}
        return {"instance": place[1], **field, "message": f"{where} {message}"}
    return {"field": _path(place), "message": f'"{_path(place)}" {message}'}


def _path(parts: Sequence[int | str]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:MAX_NAME_LENGTH]}" for part in parts)
    return text.removeprefix(".")
