"""Build the job of a checked request."""

import asyncio
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
from whyserve.model.arrays import unpacked
from whyserve.model.rows import Arrays, Row
from whyserve.model.scale import scale_options
from whyserve.model.work import counted_work
from whyserve.predict.explain_options import SAME, ExplainOptions
from whyserve.predict.predictor import Predictor


async def build_job(
    request: Request, service: Service, predictor: Predictor, arrays: Arrays, options: Mapping[str, Any]
) -> ExplainJob:
    """Predict the rows, and build the job that explains these predictions.

    arrays: by input, (rows, *shape). options: the optional fields of the request, see schemas.requests; also
    `instances`, if the arrays were read from instances.
    Raises InvalidInput, UnknownLabel, UnsupportedMethod, AnswerTooLarge, and Unavailable if the service shuts down.
    """
    origin = await _origin(request, service)
    asked = ExplainOptions.of(predictor, options)
    options, choice, instances = asked.given, asked.choice, options.get("instances")
    predicted = await predictor.answer(arrays)
    outputs = asked.outputs(predictor, predicted)
    logits = await asyncio.to_thread(predictor.logits, arrays) if asked.scale else None
    background = await _background(predictor, options["background"])
    rows = background.rows if isinstance(background, GivenBackground) else predictor.manifest.background(background)[0]
    allowed_s = min(service.settings.explain_deadline_s, options.get("deadline_s", float("inf")))
    work = counted_work(predictor.manifest, choice, sum(map(len, outputs)), rows)
    if choice.has_errors and options.get("standard_error") is not None:
        work = work.filling(allowed_s)
    created, by_row = time.time(), [] if options.get("summary") else instances or []
    job = ExplainJob.of(
        predictor.spec,
        predictor.digest,
        arrays,
        predicted,
        outputs,
        **asked.fields,
        logits=logits,
        ids=_ids(predictor, by_row),
        texts=await predictor.spans(by_row) if by_row else {},
        background=background,
        decision=options.get("decision"),
        cost=work.units,
        work=min(work.seconds, allowed_s),
        created=created,
        deadline=created + allowed_s,
        **origin,
    )
    expected, limit_mb = answer_bytes(job, predictor, choice), service.settings.max_answer_mb
    if expected > limit_mb << 20:
        raise AnswerTooLarge(
            f"the answer would take about {expected >> 20} MiB, more than WHYSERVE_MAX_ANSWER_MB ({limit_mb}) allows; "
            'send fewer instances per request, or name fewer "outputs"',
            field="instances" if len(job.outputs) > 1 else "outputs",
        )
    note_explained(request, service, predictor, job, outputs=options["outputs"], body=await request.body())
    return job.model_copy(update={"answer_bytes": expected})


def _ids(predictor: Predictor, instances: Sequence[Row]) -> tuple[str | int | None, ...]:
    """The id of each instance; empty if none has one."""
    given = tuple(row.get(ROW_ID) for row in instances)
    return given if any(each is not None for each in given) and takes_ids(predictor.spec) else ()


def note_explained(
    request: Request, service: Service, predictor: Predictor, job: ExplainJob, *, outputs: Any = None, body: bytes = b""
) -> None:
    """Say that the answer of this request is a decision. outputs: as requested; by default, what the job says of it."""
    if service.record is None:
        return
    background = job.background
    if outputs is None:  # only with these words, rows have outputs of their own
        word = "positive" if predictor.spec.task == "multilabel" else "top"
        outputs = job.outputs[0] if all(each == job.outputs[0] for each in job.outputs) else word
    asked = {name: getattr(job, name) for name in ("method", "similar", *SAME)}
    asked |= {"background": job.background_key, "outputs": outputs, **scale_options(job.scale)}
    asked |= {"reasons": job.reasons is not None, "language": job.reasons, "prediction": job.decision}
    service.note(
        request.scope["state"],
        predictor,
        body,
        unpacked(job.rows),
        kind="explanation",
        asked={name: each for name, each in asked.items() if each is not None and each is not False},
        background=unpacked(background.arrays) if isinstance(background, GivenBackground) else None,
        about=job.decision.partition(".")[0] if job.decision else job.id,
    )


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


async def _background(predictor: Predictor, given: str | GivenBackground | Sequence[Row]) -> str | GivenBackground:
    """A background's name, or checked rows as a background. Raises InvalidInput if the model cannot predict a row."""
    if isinstance(given, str | GivenBackground):
        return given
    arrays = await predictor.read(given, "background")
    await predictor.answer(arrays, "background")
    return GivenBackground.pack(arrays)
