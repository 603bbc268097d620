"""Explanations as pictures: which form the caller accepts, and the job that draws one instance and output."""

import base64
import re
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Literal

import orjson
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.explain.wait import draw_and_wait
from whyserve.api.state import Service
from whyserve.errors import InvalidInput, NotAcceptable
from whyserve.jobs import Drawing, ExplainJob, new_id
from whyserve.model.arrays import PackedArray

Kind = Literal["svg", "png"]
KINDS: Mapping[str, Kind] = {"image/svg+xml": "svg", "image/png": "png"}
MEDIA_TYPES: Mapping[Kind, str] = {kind: name for name, kind in KINDS.items()}
ACCEPTED = ("application/json", *KINDS)
# More than most pictures take as base64.
PICTURE_BYTES = 500_000
# One address answers in several forms, so caches must keep them apart.
VARY = {"Vary": "Accept"}


def picture_kind(headers: Headers) -> Kind | None:
    """The picture that the Accept header prefers (RFC 9110), or None for JSON. Raises NotAcceptable."""
    accept = ",".join(headers.getlist("accept"))
    return _kind(accept) if accept and accept != "*/*" else None


@lru_cache(maxsize=64)
def _kind(accept: str) -> Kind | None:
    ranges = [_media_range(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return None
    weights = {name: _weight(name, ranges) for name in ACCEPTED}
    best = max(ACCEPTED, key=lambda name: weights[name])  # with equal weights, the first of ACCEPTED
    if weights[best] > 0:
        return KINDS.get(best)
    if _weight("application/problem+json", ranges) > 0:
        return None
    raise NotAcceptable(f"the Accept header names no form of an explanation; accept one of {', '.join(ACCEPTED)}")


MediaRange = tuple[int, float, str]
"""(precision, weight, pattern) of a range such as image/png, image/* or */*."""


def _media_range(part: str) -> MediaRange:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    return -name.count("*"), float(weight) if re.fullmatch(r"[01](\.\d{0,3})?", weight) else 0.0, name


def _weight(name: str, ranges: Sequence[MediaRange]) -> float:
    """The weight of the most precise range that matches."""
    return max((each for each in ranges if fnmatchcase(name, each[2])), default=(0, 0.0))[1]


def check_pictured(job: ExplainJob) -> None:
    """Raises InvalidInput if the job has more than the one instance and one output that a picture shows."""
    if job.summary:
        raise InvalidInput('"summary" has no picture; send "summary": false, or accept application/json',
                           field="summary")  # fmt: skip
    if len(job.outputs) > 1:
        raise InvalidInput(
            '"instances" must hold one instance for a picture; or send Prefer: respond-async, and '
            "GET /explanations/{id}?instance=0 for each picture",
            field="instances",
        )
    if len(job.outputs[0]) != 1:
        example = f', such as ["{job.outputs[0][0]}"]' if job.outputs[0] else "; no label of this instance is on"
        raise InvalidInput(f'"outputs" must name one output for a picture{example}', field="outputs")


def selected(request: Request, job: ExplainJob) -> tuple[int, str]:
    """The instance and the output that the address names: ?instance=2&output=barolo. Raises InvalidInput."""
    number = request.query_params.get("instance", "0")
    if not (number.isdecimal() and len(number) < 9 and int(number) < len(job.outputs)):
        raise InvalidInput(f'"instance" must be a number from 0 to {len(job.outputs) - 1}', field="instance")
    names = job.outputs[int(number)]
    output = request.query_params.get("output", names[0] if names else "")
    if output not in names:
        known = ", ".join(names[:20]) or "this instance has none"
        raise InvalidInput(f'"output" must be one of the explained outputs: {known}', field="output")
    return int(number), output


async def draw(
    request: Request, service: Service, job: ExplainJob, answer: bytes, *, kind: Kind, at: tuple[int, str]
) -> Response:
    """The picture of one instance and output of an answer. Raises the drawing's error, and StillComputing."""
    drawing = _drawing(job, answer, kind, at, service.settings.explain_wait_s)
    picture = orjson.loads(await draw_and_wait(request, service, drawing))
    return Response(base64.b64decode(picture["data"]), headers=VARY, media_type=MEDIA_TYPES[kind])


def _drawing(job: ExplainJob, answer: bytes, kind: Kind, at: tuple[int, str], limit_s: float) -> ExplainJob:
    body: dict[str, Any] = orjson.loads(answer)
    row, name = at
    explanation = body["explanations"][row]
    output = next(each for each in explanation["outputs"] if each["output"] == name)
    body["explanations"] = [{**explanation, "outputs": [output]}]
    created = time.time()
    change = {
        "id": new_id(),
        "rows": {input_name: _row(packed, row) for input_name, packed in job.rows.items()},
        "served": _row(job.served, row),
        "logits": None,  # the answer has the values
        "outputs": [[name]],
        "answer_bytes": PICTURE_BYTES,
        "drawing": Drawing(kind=kind, answer=orjson.dumps(body).decode()),
        "cost": 100,  # as much as one output and a background of 100 rows
        "work": 0.2,
        "created": created,
        "deadline": created + limit_s,
        "idempotency_key": None,
        "request_hash": None,
    }
    return job.model_copy(update=change)


def _row(packed: PackedArray, row: int) -> PackedArray:
    return PackedArray.pack(packed.unpack()[row : row + 1])
