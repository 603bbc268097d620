"""Build the job of a checked request."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request

from whyserve.api.explain.answer_size import answer_bytes
from whyserve.api.middleware.auth import caller_of
from whyserve.api.schemas.headers import idempotency_key
from whyserve.api.schemas.rows import ROW_ID, takes_ids
from whyserve.api.state import Service
from whyserve.errors import AnswerTooLarge
from whyserve.jobs import ExplainJob, GivenBackground
from whyserve.model.choice import choose_method
from whyserve.model.rows import Arrays, Row
from whyserve.model.spec import DEFAULT_BACKGROUND
from whyserve.model.work import counted_work
from whyserve.predict.predictor import Predictor


async def build_job(
    request: Request, service: Service, predictor: Predictor, arrays: Arrays, options: Mapping[str, Any]
) -> ExplainJob:
    """Predict the rows, and build the job that explains these predictions.

    arrays: by input, (rows, *shape). options: the request's method, outputs, samples, standard_error, seed, deadline_s,
    background and summary, as far as it has them; also `instances`, if the arrays were read from instances.
    Raises InvalidInput, UnknownLabel, UnsupportedMethod, AnswerTooLarge, and Unavailable if the service shuts down.
    """
    origin = await _origin(request, service)
    method, instances = options.get("method", "auto"), options.get("instances")
    summary = options.get("summary", False)
    samples, standard_error = options.get("samples"), options.get("standard_error")
    choice = choose_method(predictor.manifest, method, samples, standard_error)
    predicted = await predictor.answer(arrays)
    outputs = predictor.outputs.wanted(options.get("outputs", "all" if summary else "top"), predicted)
    background = await _background(predictor, options.get("background", DEFAULT_BACKGROUND))
    rows = background.rows if isinstance(background, GivenBackground) else predictor.manifest.background(background)[0]
    allowed_s = min(service.settings.explain_deadline_s, options.get("deadline_s", float("inf")))
    work = counted_work(predictor.manifest, choice, sum(map(len, outputs)), rows)
    if choice.has_errors and standard_error is not None:
        work = work.filling(allowed_s)
    created = time.time()
    job = ExplainJob.of(
        predictor.spec,
        predictor.digest,
        arrays,
        predicted,
        outputs,
        ids=tuple(row.get(ROW_ID) for row in instances or ()) if takes_ids(predictor.spec) and not summary else (),
        texts=await predictor.spans(instances) if instances and not summary else {},
        method=method,
        samples=samples,
        standard_error=standard_error,
        seed=options.get("seed", 0),
        background=background,
        summary=summary,
        cost=work.units,
        work=min(work.seconds, allowed_s),
        created=created,
        deadline=created + allowed_s,
        **origin,
    )
    expected, limit_mb = answer_bytes(job, predictor), service.settings.max_answer_mb
    if expected > limit_mb << 20:
        raise AnswerTooLarge(
            f"the answer would take about {expected >> 20} MiB, more than WHYSERVE_MAX_ANSWER_MB ({limit_mb}) allows; "
            'send fewer instances per request, or name fewer "outputs"',
            field="instances" if len(job.outputs) > 1 else "outputs",
        )
    return job.model_copy(update={"answer_bytes": expected})


async def _origin(request: Request, service: Service) -> dict[str, Any]:
    """The fields of a job that say which request it comes from."""
    caller = caller_of(request.scope)
    state = request.scope["state"]
    key = idempotency_key(request.headers, caller)
    path: str = request.scope["path"]
    return {
        "id": service.ids.new(caller),
        "caller": caller,
        "idempotency_key": key,
        "request_hash": hashlib.sha256(path.encode() + await request.body()).hexdigest() if key else None,
        "request_id": state["request_id"],
        "traceparent": service.tracer.traceparent() if service.tracer else state.get("traceparent"),
    }


async def _background(predictor: Predictor, given: str | Sequence[Row]) -> str | GivenBackground:
    """A background's name, or checked rows as a background. Raises InvalidInput if the model cannot predict a row."""
    if isinstance(given, str):
        return given
    arrays = await predictor.read(given, "background")
    await predictor.answer(arrays, "background")
    return GivenBackground.pack(arrays)
