"""How large an answer will be, before it is computed."""

from whyserve.jobs import ExplainJob
from whyserve.model.methods import METHODS
from whyserve.model.players import NUMBER_BYTES
from whyserve.predict.predictor import Predictor

# Bytes of JSON, somewhat more than measured: of a token, of an explained output and of an answer, each without its
# attributions.
TOKEN, OUTPUT, ANSWER = 90, 150, 1500


def answer_bytes(job: ExplainJob, predictor: Predictor) -> int:
    """The expected size of a job's answer: seldom less than the answer, and at most about twice as much."""
    spec = predictor.spec
    explained, values = sum(map(len, job.outputs)), predictor.attribution_bytes
    if job.summary:
        return ANSWER + len(spec.output_names) * (OUTPUT + values)
    prediction = sum(len(name) + NUMBER_BYTES for name in spec.output_names)
    tokens = sum(
        len(spans.tokens) * len(outputs)
        for texts in job.texts.values()
        for spans, outputs in zip(texts, job.outputs, strict=True)
    )
    shares = (explained * values + TOKEN * tokens) * (2 if _samples(job, predictor) else 1)
    return ANSWER + len(job.outputs) * prediction + explained * OUTPUT + shares


def _samples(job: ExplainJob, predictor: Predictor) -> bool:
    """Whether the answer has standard errors."""
    method: str = job.method if job.method != "auto" else predictor.spec.explain.method
    return bool(METHODS[method if method != "auto" else predictor.manifest.certificate["default"]].samples)
