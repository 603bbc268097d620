"""POST /v2/models/{model}[/versions/{version}]/explain: the request of an inference, and tensors that explain it."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.errors.problems import from_validation
from whyserve.api.explain.job import Explained, request_job, submit_and_wait
from whyserve.api.oip.attributions import names_of, tensors_of
from whyserve.api.oip.infer import find
from whyserve.api.oip.response import reply
from whyserve.api.oip.tensors import read
from whyserve.api.oip.wire import unpack
from whyserve.api.schemas.models import explain_options, one_of, typed_dict
from whyserve.api.state import Service
from whyserve.errors import StillComputing
from whyserve.jobs import ExplainJob
from whyserve.model.spec import ModelSpec

OPTIONS = ("method", "outputs", "samples", "seed", "deadline_s", "background")
# Of an explanation's answer, what an inference's answer has no place for but its parameters.
ABOUT = ("manifest", "method", "method_reason", "expected_distance", "complete", "cached")


async def explain(request: Request) -> Response:
    service: Service = request.app.state.service
    state = request.scope["state"]
    body = await request.body()
    predictor = find(service, request.path_params["model"], request.path_params.get("version"))
    spec = predictor.spec
    state["model"] = spec.name
    wire_body = await unpack(request.scope["headers"], body, service.settings.max_body_mb << 20)
    asked = read(wire_body, predictor, names_of(spec), service.settings.max_instances)
    options = _options(asked.parameters, spec)
    job = await request_job(request, service, predictor, asked.arrays, options)
    found = orjson.loads(await answer(request, service, job))
    tensors = tensors_of(spec, found["explanations"])
    # A method that does not sample has no standard errors.
    wanted = [want for want in asked.outputs if want.name in tensors]
    about = {key: found[key] for key in ABOUT if key in found}
    about |= {"background": found["background"]["name"], "background_sha256": found["background"]["sha256"]}
    identity = state["request_id"] if asked.id is None else asked.id
    return reply(spec, identity, tensors, wanted, {"explanation": found["id"], **about}).response()


async def answer(request: Request, service: Service, job: ExplainJob) -> bytes:
    """Clients of these protocols know one answer only: the whole one. Raises StillComputing where it takes too long."""
    outcome = await submit_and_wait(request, service, job, service.settings.explain_wait_s)
    if isinstance(outcome, Explained):
        return outcome.body
    raise StillComputing(
        f"the explanation takes longer; GET /explanations/{outcome.id} has it once it is there", retry_after_s=5
    )


def _options(parameters: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """What the parameters say of explaining; every output unless they name one, for tensors have one shape."""
    given = {"outputs": "all", **{name: parameters[name] for name in OPTIONS if name in parameters}}
    if isinstance(given["outputs"], str) and given["outputs"] not in ("top", "all"):
        given["outputs"] = [given["outputs"]]
    return check_options(given, spec)


def check_options(given: dict[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Here a background is one of the model's, by name. Raises InvalidInput."""
    try:
        checked: dict[str, Any] = _adapter(spec.output_names, tuple(spec.explain.files)).validate_python(given)
    except ValidationError as error:
        raise from_validation(error, ()) from None
    return checked


@lru_cache(maxsize=256)
def _adapter(labels: tuple[str, ...], backgrounds: tuple[str, ...]) -> TypeAdapter[Any]:
    return TypeAdapter(typed_dict("ExplainOptions", explain_options(labels, one_of(backgrounds))))
