"""Explanations as pictures: what a caller accepts, and the job of drawing that a worker does."""

import base64
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from whyserve.api.explain.job import background_rows, result_of, wait
from whyserve.api.state import Service
from whyserve.errors import InvalidInput, NotAcceptable, StillComputing
from whyserve.jobs import Drawing, ExplainJob, PackedArray, new_id

Kind = Literal["svg", "png"]
KINDS: Mapping[str, Kind] = {"image/svg+xml": "svg", "image/png": "png"}
TYPES = ("application/json", *KINDS)
# The same address answers in several forms.
VARY = {"Vary": "Accept"}


def picture_kind(headers: Headers) -> Kind | None:
    """The picture that Accept wants most (RFC 9110); None where that is JSON. Raises NotAcceptable."""
    ranges = [_range(part) for part in ",".join(headers.getlist("accept")).split(",") if part.strip()]
    if not ranges:
        return None
    weights = {kind: _weight(kind, ranges) for kind in TYPES}
    best = max(TYPES, key=lambda kind: weights[kind])  # of those wanted alike, the first here
    if weights[best] > 0:
        return KINDS.get(best)
    if _weight("application/problem+json", ranges) > 0:
        return None
    raise NotAcceptable(f"an explanation has no such form; it has {', '.join(TYPES)}")


Range = tuple[int, float, str]
"""How special it is, its weight, and what it begins: image/png, image/ or nothing."""


def _range(part: str) -> Range:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    quality = float(weight) if re.fullmatch(r"[01](\.\d{0,3})?", weight) else 0.0
    kind, _, subtype = name.partition("/")
    return (kind != "*") + (subtype != "*"), quality, "" if kind == "*" else f"{kind}/" if subtype == "*" else name


def _weight(kind: str, ranges: Sequence[Range]) -> float:
    """The most special range that fits a type decides on it."""
    fitting = [each for each in ranges if kind == each[2] or (each[0] < 2 and kind.startswith(each[2]))]
    return max(fitting)[1] if fitting else 0.0


def check_pictured(job: ExplainJob) -> None:
    """Raises InvalidInput where the job's answer is more than one picture shows."""
    if job.summary:
        raise InvalidInput('a picture shows one instance; a "summary" has none', field="summary")
    if len(job.outputs) > 1:
        raise InvalidInput(
            "a picture shows one instance; ask for one, or take this as JSON and GET /explanations/{id}?instance=0",
            field="instances",
        )
    if len(job.outputs[0]) > 1:
        raise InvalidInput(f'a picture shows one output: name it, "outputs": ["{job.outputs[0][0]}"]', field="outputs")


def selected(request: Request, job: ExplainJob) -> tuple[int, str]:
    """The instance and the output that an address names: ?instance=2&output=barolo. Raises InvalidInput."""
    text = request.query_params.get("instance", "0")
    if not (text.isdecimal() and len(text) < 9 and int(text) < len(job.outputs)):
        raise InvalidInput(f'"instance" must be 0 to {len(job.outputs) - 1}', field="instance")
    names = job.outputs[int(text)]
    output = request.query_params.get("output", names[0])
    if output not in names:
        raise InvalidInput(f'"output" must be one that is explained: {", ".join(names[:20])}', field="output")
    return int(text), output


async def draw(
    request: Request, service: Service, job: ExplainJob, answer: bytes, *, kind: Kind, at: tuple[int, str]
) -> Response:
    """The picture of one instance and output of an answer. Raises what the drawing ended with, and StillComputing."""
    seconds = service.settings.explain_wait_s
    if service.explaining is not None:
        service.explaining.take(job.caller, background_rows(service, job))
    drawing = await service.queue.submit(_drawing(job, answer, kind, at, seconds))
    state = await wait(request, service, drawing, seconds)
    if state is None:
        await service.queue.cancel(drawing)
        raise ClientDisconnect
    if not state.status.is_final:
        await service.queue.cancel(drawing)
        raise StillComputing("the picture takes longer; ask again", retry_after_s=5)
    data = base64.b64decode(orjson.loads(result_of(state))["data"])
    media = next(name for name, each in KINDS.items() if each == kind)
    return Response(data, headers=VARY, media_type=media)


def _drawing(job: ExplainJob, answer: bytes, kind: Kind, at: tuple[int, str], seconds: float) -> ExplainJob:
    body: dict[str, Any] = orjson.loads(answer)
    row, output = at
    explanation = body["explanations"][row]
    found = next(each for each in explanation["outputs"] if each["output"] == output)
    body["explanations"] = [{"prediction": explanation["prediction"], "outputs": [found]}]
    created = time.time()
    change = {
        "id": new_id(),
        "rows": {name: _row(packed, row) for name, packed in job.rows.items()},
        "served": _row(job.served, row),
        "outputs": [[output]],
        "drawing": Drawing(kind=kind, answer=orjson.dumps(body).decode()),
        "created": created,
        "deadline": created + seconds,
        "idempotency_key": None,
        "request_hash": None,
    }
    return job.model_copy(update=change)


def _row(packed: PackedArray, row: int) -> PackedArray:
    return PackedArray.pack(packed.unpack()[row : row + 1])
