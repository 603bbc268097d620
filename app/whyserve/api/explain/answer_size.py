"""How large an answer will be, before it is computed."""

from whyserve.jobs import ExplainJob
from whyserve.model.choice import choose_method
from whyserve.model.players import NUMBER_BYTES
from whyserve.predict.predictor import Predictor

# Bytes of JSON, somewhat more than measured: of a token, of an explained output and of an answer, each without its
# attributions.
TOKEN, OUTPUT, ANSWER = 90, 150, 1500


def answer_bytes(job: ExplainJob, predictor: Predictor) -> int:
    """The expected size of a job's answer: seldom less than the answer, and at most about twice as much."""
    spec = predictor.spec
    ids = sum(len(str(each).encode()) + len(',"id":""') for each in job.ids)
    explained, values = sum(map(len, job.outputs)), predictor.attribution_bytes
    if job.summary:
        return ANSWER + len(spec.output_names) * (OUTPUT + values)
    prediction = sum(len(name) + NUMBER_BYTES for name in spec.output_names)
    tokens = sum(
        len(spans.tokens) * len(outputs)
        for texts in job.texts.values()
        for spans, outputs in zip(texts, job.outputs, strict=True)
    )
    choice = choose_method(predictor.manifest, job.method, job.samples, job.standard_error)
    shares = (explained * values + TOKEN * tokens) * (2 if choice.has_errors else 1)
    return ANSWER + ids + len(job.outputs) * prediction + explained * OUTPUT + shares
