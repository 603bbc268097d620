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
from whyserve.errors import AnswerTooLarge, InvalidInput
from whyserve.jobs import ExplainJob, GivenBackground, PackedArray, unpacked
from whyserve.model.choice import TREE_METHOD, choose_method
from whyserve.model.methods import method_of_interactions
from whyserve.model.rows import Arrays, Row
from whyserve.model.scale import scale_of, scale_options
from whyserve.model.spec import DEFAULT_BACKGROUND
from whyserve.model.work import counted_work
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
    options = {**_defaults(predictor, options), **options}
    method, instances, summary = options["method"], options.get("instances"), options.get("summary", False)
    interactions, players = options.get("interactions", False), options.get("players")
    partition = predictor.partition_of(players)
    if summary and partition.follows_rows:
        partition.for_summary(asked=players is not None)
    if interactions:
        method = method_of_interactions("a summary" if summary else method)
        partition.check_interactions()
    samples, standard_error = options.get("samples"), options.get("standard_error")
    choice = choose_method(predictor.manifest, method, samples, standard_error, players=players)
    if players and choice.method != TREE_METHOD:
        partition.check_no_tree(TREE_METHOD)
    instead_of = options.get("instead_of")
    scale = scale_of(predictor.spec, options.get("scale"), instead_of)
    predicted = await predictor.answer(arrays)
    outputs = predictor.outputs.wanted(options["outputs"], predicted, instead_of)
    if reasons := options.get("reasons"):
        outputs = predictor.outputs.including(outputs, predictor.reasons.against)
    logits = await asyncio.to_thread(predictor.logits, arrays) if scale else None
    background = await _background(predictor, options["background"])
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
        scale=scale,
        logits=None if logits is None else PackedArray.pack(logits),
        ids=tuple(row.get(ROW_ID) for row in instances or ()) if takes_ids(predictor.spec) and not summary else (),
        texts=await predictor.spans(instances) if instances and not summary else {},
        method=method,
        interactions=interactions,
        samples=samples,
        standard_error=standard_error,
        seed=options.get("seed", 0),
        background=background,
        players=players,
        summary=summary,
        reasons=options["language"] if reasons else None,
        similar=_similar(predictor, options),
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


def _defaults(predictor: Predictor, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a request did not name. Raises InvalidInput if the model or the request allows no reasons."""
    common = {"method": "auto", "background": DEFAULT_BACKGROUND}
    if not options.get("reasons"):
        if "language" in options:
            raise InvalidInput('"language" is the language of reasons; send "reasons": true', field="language")
        return {**common, "outputs": "all" if options.get("summary") else "top"}
    for other in ("summary", "players", "instead_of"):
        if options.get(other) not in (None, False):
            words = f'"reasons" are those of each row for the outcome in model.toml; send no "{other}"'
            raise InvalidInput(words, field="reasons")
    spec = predictor.reasons
    known = (spec.language, *spec.languages)
    if options.get("language", spec.language) not in known:
        raise InvalidInput(f'"language" must be one of {", ".join(known)}', field="language")
    return {**common, "outputs": [spec.against], "background": spec.background, "language": spec.language}


def _similar(predictor: Predictor, options: Mapping[str, Any]) -> int | None:
    """The number of similar rows that a request asks for. Raises InvalidInput if they cannot be shown."""
    count: int | None = options.get("similar")
    spec, is_own = predictor.spec, isinstance(options["background"], str)
    fault = None
    if count is None:
        return None
    if options.get("summary"):
        fault = 'a summary has no similar rows; send no "summary"'
    elif not spec.is_table:
        fault = f"{spec.name} has inputs that are not tabular"
    elif count and is_own and not spec.explain.show_background:
        fault = "model.toml does not allow to show the background (explain.show_background); send 0, or a background"
    if fault:
        raise InvalidInput(f'"similar": {fault}', field="similar")
    return count


def note_explained(
    request: Request, service: Service, predictor: Predictor, job: ExplainJob, *, outputs: Any, body: bytes = b""
) -> None:
    """Say that the answer of this request is a decision. outputs: as requested."""
    background = job.background
    asked = {
        "job": job.id,
        "method": job.method,
        "samples": job.samples,
        "standard_error": job.standard_error,
        "seed": job.seed,
        "background": job.background_key,
        "outputs": outputs,
        **scale_options(job.scale),
        "interactions": job.interactions,
        "players": job.players,
        "summary": job.summary,
        "reasons": job.reasons is not None,
        "language": job.reasons,
        "similar": job.similar,
    }
    service.note(
        request.scope["state"],
        predictor,
        body,
        unpacked(job.rows),
        kind="explanation",
        asked={name: each for name, each in asked.items() if each is not None and each is not False},
        background=unpacked(background.arrays) if isinstance(background, GivenBackground) else None,
        about=job.id,
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
