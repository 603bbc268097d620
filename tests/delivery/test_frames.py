"""Frames on the wire."""

import numpy as np
import pytest

from whyserve.delivery.frames import (
    Decoder,
    Kind,
    Reply,
    decode_reply,
    decode_request,
    encode,
    encode_error,
    encode_reply,
    encode_request,
)
from whyserve.jobs import ExplainJob, GivenBackground, JobResult, job_error
from whyserve.model.arrays import PackedArray
from whyserve.model.text import TokenSpans

JOB = ExplainJob(
    id="a", model="m", version=3, digest="d",
    rows={"x": PackedArray.pack(np.arange(6, dtype="f4").reshape(2, 3)), "y": PackedArray.pack(np.ones(2, ">i8"))},
    served=PackedArray.pack(np.array([[0.1, np.inf], [-0.0, 1e-300]])), outputs=[["a"], ["ß"]],
    texts={"y": (TokenSpans(tokens=(("ein", 0, 3),), places=(0,)),) * 2},
    background=GivenBackground.pack({"x": np.zeros((0, 3), np.uint8)}), samples=2, seed=2**62, created=1.5,
    caller="ann",
)  # fmt: skip
RESULT = JobResult(b'{"id":"a"}', [b'{"n":1}', b'{"n":2}'], "deep", 1e-9, False)


def test_a_job_arrives_bit_for_bit():
    (frame,) = Decoder().feed(encode_request(JOB, 2))
    assert frame.kind == Kind.REQUEST
    job, attempt = decode_request(frame)
    assert (job, attempt) == (JOB, 2)
    assert job.served.unpack().tobytes() == JOB.served.unpack().tobytes()
    assert ExplainJob.model_validate_json(job.model_dump_json()) == JOB


def test_a_result_arrives_as_a_head_and_rows():
    (frame,) = Decoder().feed(encode_reply("a", 1, Reply(RESULT, 0.5)))
    reply = decode_reply(frame, frame.head)
    assert reply == Reply(RESULT, 0.5)
    assert reply.result.json == b'{"id":"a","explanations":[{"n":1},{"n":2}]}'


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_frames_are_found_however_the_bytes_are_cut(size):
    sent = [
        encode(Kind.BEAT, {}),
        encode_request(JOB, 1),
        encode_error("a", 1, job_error("explanation_failed", "no luck")),
        encode(Kind.CANCEL, {"id": "a"}),
    ]
    stream, decoder, found = b"".join(sent), Decoder(), []
    for first in range(0, len(stream), size):
        found += decoder.feed(stream[first : first + size])
    assert [frame.kind for frame in found] == [Kind.BEAT, Kind.REQUEST, Kind.ERROR, Kind.CANCEL]
    assert found[2].head == {"id": "a", "attempt": 1, "code": "explanation_failed", "message": "no luck"}
    assert decode_request(found[1])[0] == JOB
