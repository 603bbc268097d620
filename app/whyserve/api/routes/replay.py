"""POST /explain {"prediction": ID}: explain a recorded prediction again, with the same build, seed and samples."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request

from whyserve import __version__
from whyserve.api.explain.job import build_job
from whyserve.api.middleware.auth import caller_of
from whyserve.api.oip.explain import check_options
from whyserve.api.schemas.requests import set_instances
from whyserve.api.state import Service
from whyserve.errors import InvalidInput, ModelFault, PredictionGone, UnknownPrediction
from whyserve.jobs import ExplainJob, GivenBackground
from whyserve.model.builds import RECORDED, build_folder, find_build
from whyserve.predict.predictor import Predictor, load_predictor
from whyserve.record.chain import UNKNOWN, check_row, read_place

# The name of the prediction stands near the beginning of a short body.
FIELD, NEAR = b'"prediction"', 300
KEPT_PREDICTORS = 4


def wanted(body: bytes) -> dict[str, Any] | None:
    """The request, if it names a recorded prediction."""
    if FIELD not in body[:NEAR]:
        return None
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and "prediction" in found else None


async def build(request: Request, service: Service, given: dict[str, Any]) -> ExplainJob:
    """The job of a request that names a prediction. Its other fields are options that replace the recorded ones.

    Raises InvalidInput, UnknownPrediction, PredictionGone, RecordUnavailable, and what build_job raises.
    """
    place = given.pop("prediction")
    if not isinstance(place, str):
        raise InvalidInput('"prediction" must be a string: the X-Prediction-Id of an answer', field="prediction")
    if service.record is None:
        raise InvalidInput("this service keeps no record; set WHYSERVE_RECORD", field="prediction")
    prediction, row = read_place(place, "prediction")
    found = await service.record.run(lambda store, _: store.find(prediction))
    head, content, state = found.head, found.content, request.scope["state"]
    if head["caller"] != caller_of(request.scope) and "record" not in state.get("scopes", ()):
        raise UnknownPrediction(UNKNOWN, field="prediction")
    check_row(head, row, "prediction")
    if content is None or (row in found.erased if row is not None else found.erased):
        raise PredictionGone("the content of this prediction was erased", field="prediction")
    predictor = await predictor_of(service, head["model"], head["version"], head["manifest"])
    state["model"] = predictor.spec.name
    hidden = predictor.spec.record
    if hidden.omit or hidden.hash:
        names = ", ".join((*hidden.omit, *hidden.hash))
        raise PredictionGone(f"the record does not hold {names}, so it cannot explain again", field="prediction")
    own = check_options(given, predictor.spec)
    options = dict(head.get("asked", {}))
    if content.background:
        options["background"] = GivenBackground.pack(content.background)
    if instances := _instances(content.body):
        options["instances"] = instances if row is None else instances[row : row + 1]
    arrays = {name: x if row is None else x[row : row + 1] for name, x in content.arrays.items()}
    state["replay"] = {
        "prediction": place,
        "program": head["program"],
        "may_differ": _reasons(head, content.explained, own),
    }
    source, row_of = options.get("prediction"), "" if row is None else f".{row}"
    # What explains an explanation again is about the first decision.
    first = place if source is None else source if "." in source else source + row_of
    return await build_job(request, service, predictor, arrays, {**options, **own, "decision": first})


def noted(request: Request, parts: Sequence[bytes]) -> Sequence[bytes]:
    """The parts of an answer. That of a replay also says what was explained again."""
    if (replayed := request.scope["state"].get("replay")) is None:
        return parts
    return [*parts[:-1], parts[-1][:-1], b',"replay":', orjson.dumps(replayed), b"}"]


def _reasons(head: dict[str, Any], explained: dict[str, Any] | None, own: dict[str, Any]) -> list[str]:
    found = []
    if head["program"] != __version__:
        found.append(f"the prediction was made by Whyserve {head['program']}; this is {__version__}")
    if explained and explained.get("complete") is False:
        found.append("a deadline had ended the first explanation early")
    if explained and "device" in explained:
        found.append(f"the first explanation was computed on {explained['device']}")
    if own:
        found.append(f"this request sets {', '.join(sorted(own))}")
    return found


def _instances(body: bytes) -> list[dict[str, Any]]:
    """The rows as they were sent; none if they were sent in another form. Texts need them, and ids."""
    try:
        request = orjson.loads(body)
        set_instances(request)
        rows: list[dict[str, Any]] = request["instances"]
    except (ValueError, TypeError, AttributeError, InvalidInput):
        return []
    return rows if isinstance(rows[0], dict) else []


async def predictor_of(service: Service, model: str, version: int, digest: str) -> Predictor:
    """The build that made a prediction. Raises PredictionGone."""
    for predictor in service.catalog.versions(model).values():
        if predictor.digest == digest:
            return predictor
    artifacts, name = service.settings.artifacts, build_folder(model, digest)
    place = find_build(artifacts, model, digest)
    if place is None:
        raise PredictionGone(
            f"the network of this prediction is gone: version {version} of {model}; restore the folder"
            f" {RECORDED}/{name} of the artifacts from a backup",
            field="prediction",
        )
    try:
        return await asyncio.to_thread(_load, place, service.settings.threads)
    except ModelFault as fault:
        raise PredictionGone(f"the network of this prediction cannot be used: {fault.message}") from fault


@lru_cache(maxsize=KEPT_PREDICTORS)
def _load(place: Path, threads: int) -> Predictor:
    return load_predictor(place, threads)
