"""How large an answer will be, before it is computed."""

from whyserve.jobs import ExplainJob
from whyserve.model.choice import TREE_METHOD, MethodChoice
from whyserve.model.players import NUMBER_BYTES
from whyserve.predict.predictor import Predictor

# Bytes of JSON, somewhat more than measured: of a token, of an explained output and of an answer, each without its
# attributions, and of a reason without its texts.
TOKEN, OUTPUT, ANSWER, REASON = 90, 150, 1500, 250


def answer_bytes(job: ExplainJob, predictor: Predictor, choice: MethodChoice) -> int:
    """The expected size of a job's answer: seldom less than the answer, and at most about twice as much."""
    spec = predictor.spec
    ids = sum(len(str(each).encode()) + len(',"id":""') for each in job.ids)
    partition = predictor.partition_of(job.players)
    explained, values = sum(map(len, job.outputs)), partition.answer_bytes
    if job.summary:
        return ANSWER + len(spec.output_names) * (OUTPUT + values)
    prediction = sum(len(name) + NUMBER_BYTES for name in spec.output_names)
    tokens = sum(
        len(spans.tokens) * len(outputs)
        for texts in job.texts.values()
        for spans, outputs in zip(texts, job.outputs, strict=True)
    )
    if job.interactions:
        values += NUMBER_BYTES * partition.fixed.count**2
    shares = (explained * values + TOKEN * tokens) * (2 if choice.has_errors else 1)
    if choice.method == TREE_METHOD:
        shares *= 2  # the groups of the tree, which are fewer than the players
    reasons = len(job.outputs) * _reasons(predictor) if job.reasons else 0
    similar = len(job.outputs) * job.similar * (_instance(predictor) + prediction + REASON) if job.similar else 0
    return ANSWER + ids + len(job.outputs) * prediction + explained * OUTPUT + shares + reasons + similar


def _instance(predictor: Predictor) -> int:
    return sum(len(key.encode()) + NUMBER_BYTES for key in predictor.spec.keys)


def _reasons(predictor: Predictor) -> int:
    """Of one row: each text stands in its reason and in the sentence, and names tied features."""
    spec = predictor.reasons
    longest = max((len(f"{text.raises}{text.lowers}".encode()) for text in spec.texts.values()), default=0)
    return len(spec.sentence) + spec.most * (REASON + 2 * longest)
