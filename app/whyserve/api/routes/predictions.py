"""GET /predictions, GET /predictions/{id} and POST /predictions/{id}/erase: the decision record."""

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NotRequired

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from whyserve.api.middleware.answers import json_response
from whyserve.api.middleware.auth import caller_of
from whyserve.api.openapi.components import parameter
from whyserve.errors import InvalidInput, UnknownPrediction
from whyserve.record.chain import check_row, read_place, read_time
from whyserve.record.content import as_json

if TYPE_CHECKING:
    from whyserve.record.store import Found
    from whyserve.record.writer import Recorder

router = APIRouter(prefix="/predictions", tags=["record"])
MOST, PAGE = 1000, 100
QUERY = {
    "model": "Name of a model.",
    "caller": "Name of a key.",
    "from": "The first time, in ISO 8601, such as 2026-03-01 or 2026-03-01T12:00:00Z.",
    "to": "The end of the time, exclusive.",
    "limit": f"Records of a page, at most {MOST}. Default: {PAGE}.",
    "after": "`next` of the page before.",
}
PARAMETERS = [parameter(name, "query", words) for name, words in QUERY.items()]


class RecordHead(TypedDict):
    """What the chain of records holds of a decision. previous: the hash of the record before it, in SHA-256.

    content: the salted digest of the content. asked: the options of an explanation.
    """

    id: str
    time: str
    kind: str
    writer: str
    seq: int
    previous: str
    content: str
    path: str
    model: str
    version: int
    manifest: str
    program: str
    rows: int
    caller: NotRequired[str]
    request_id: NotRequired[str]
    about: NotRequired[str]
    asked: NotRequired[dict[str, Any]]


class RecordPage(TypedDict):
    """next: for `after` of the next page; absent on the last one."""

    predictions: list[RecordHead]
    next: NotRequired[str]


class Recorded(RecordHead):
    """A recorded decision. sent, answer, explanation: as JSON, or base64 of other bytes.

    network_input: by input; null stands for NaN, and for what was erased or is not kept.
    erased: the rows that were erased, or all. related: ids of records of the same decision.
    """

    sent: NotRequired[Any]
    network_input: NotRequired[dict[str, Any]]
    answer: NotRequired[Any]
    explanation: NotRequired[Any]
    erased: NotRequired[list[Any]]
    related: list[str]


class Erasure(TypedDict):
    """records: how many records lost content."""

    records: int


@router.get("", operation_id="listPredictions", response_model=RecordPage, openapi_extra={"parameters": PARAMETERS})
async def listed(request: Request) -> Response:
    """Recorded decisions, from old to new, in pages."""
    query = request.query_params
    for name in query:
        if name not in QUERY:
            raise InvalidInput(f"the query has an unknown parameter; the known ones are {', '.join(QUERY)}")
        if "\0" in query[name]:
            raise InvalidInput(f'"{name}" must not contain the character NUL', field=name)
    limit = query.get("limit", str(PAGE))
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 9 and 1 <= int(limit) <= MOST):
        raise InvalidInput(f'"limit" must be a number from 1 to {MOST}', field="limit")
    time, _, last = query.get("after", "0-").partition("-")
    if not (time.isascii() and time.isdecimal() and len(time) < 19):
        raise InvalidInput('"after" must be "next" of the page before', field="after")
    since, until = (read_time(query[name], name) if name in query else None for name in ("from", "to"))
    after = max((int(time), last), (since or 0, ""))
    equal = {"model": query.get("model"), "caller": query.get("caller")}
    heads = await _recorder(request).run(
        lambda store, _: store.heads(limit=int(limit) + 1, after=after, until=until, **equal)
    )
    page: dict[str, Any] = {"predictions": list(map(_shown, heads[: int(limit)]))}
    if len(heads) > int(limit):
        page["next"] = f"{heads[int(limit) - 1]['time']}-{heads[int(limit) - 1]['id']}"
    return json_response(page)


@router.get("/{id}", operation_id="getPrediction", response_model=Recorded)
async def show(request: Request, id: str) -> Response:
    """A recorded decision, with its input and its answer."""
    prediction, row = read_place(id, "id")
    found = await _recorder(request).run(lambda store, _: store.find(prediction))
    check_row(found.head, row, "id")
    return json_response(_whole(found))


@router.post("/{id}/erase", operation_id="erasePrediction", response_model=Erasure)
async def erase(request: Request, id: str) -> Response:
    """Erase the content of a recorded decision (ID), or of one of its rows (ID.ROW), also in its explanations."""
    prediction, row = read_place(id, "id")
    caller, recorder = caller_of(request.scope), _recorder(request)
    from whyserve.record import erasure  # noqa: PLC0415  # few services need SQLAlchemy

    count = await recorder.run(lambda store, chain: erasure.erase(store, chain, prediction, row, caller))
    return json_response({"records": count})


def _recorder(request: Request) -> "Recorder":
    """Raises UnknownPrediction."""
    recorder: Recorder | None = request.app.state.service.record
    if recorder is None:
        raise UnknownPrediction("this service keeps no record; set WHYSERVE_RECORD")
    return recorder


def _shown(head: dict[str, Any]) -> dict[str, Any]:
    time = datetime.fromtimestamp(head["time"] / 1e6, UTC).isoformat(timespec="microseconds")
    return {name: each for name, each in head.items() if each is not None} | {"time": time}


def _whole(found: "Found") -> dict[str, Any]:
    content, erased = found.content, [{"row": row} if row is not None else "all" for row in found.erased]
    shown: dict[str, Any] = _shown(found.head)
    if content is not None:
        parts = {"sent": content.body, "answer": content.answer, "explanation": content.explanation}
        shown |= {name: _readable(part) for name, part in parts.items() if part}
        arrays = {**content.arrays, **content.filled}
        shown["network_input"] = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return {**shown, **({"erased": erased} if erased else {}), "related": found.related}


def _readable(block: bytes) -> Any:
    found = as_json(block)
    return {"base64": base64.b64encode(block).decode()} if found is None else found
