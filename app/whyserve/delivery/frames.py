"""The frames of direct delivery: a small header, JSON, and raw arrays or ready rows.

A frame is: the number of bytes that follow (uint32), its kind (uint8), the number of blocks (uint32), the size of each
block (uint32), and the blocks. All numbers are little-endian. The first block is a JSON object.
"""

import struct
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from whyserve.jobs import ExplainJob, JobError, JobResult

# Raise it when a frame changes. An API refuses a worker of another version.
VERSION = 3
_SIZE, _HEAD = struct.Struct("<I"), struct.Struct("<BI")


class Kind(IntEnum):
    """From worker to API: HELLO to PROGRESS, and RETURN. From API to worker: REQUEST to RECALL, and NEWS."""

    HELLO = 1  # version, owner, credits, digests
    DIGESTS = 2  # the worker's manifests have changed: digests
    BEAT = 3  # the worker is alive
    STARTED = 4  # the computation of a request that was sent before has begun: id
    REPLY = 5  # id, attempt, seconds and the other figures of a result; then its head and its rows
    ERROR = 6  # id, attempt, code, message
    PROGRESS = 7  # id, progress, standard_error
    REQUEST = 8  # attempt; then an ExplainJob and its arrays
    CANCEL = 9  # id
    RECALL = 10  # return this request if its computation has not begun: id
    RETURN = 11  # the answer to RECALL: id
    NEWS = 12  # there may be a new job in the queue


class Frame(NamedTuple):
    kind: int
    blocks: Sequence[bytes]

    @property
    def head(self) -> dict[str, Any]:
        head: dict[str, Any] = from_json(self.blocks[0])
        return head


def encode(kind: Kind, head: Mapping[str, Any], *blocks: bytes) -> bytes:
    all_blocks = (to_json(head), *blocks)
    count = len(all_blocks)
    sizes = struct.pack(f"<{count}I", *map(len, all_blocks))
    content = b"".join((_HEAD.pack(kind, count), sizes, *all_blocks))
    return _SIZE.pack(len(content)) + content


class Decoder:
    """Cuts the bytes of a connection into frames."""

    def __init__(self) -> None:
        self._received, self._needed = bytearray(), _SIZE.size

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete with these bytes."""
        self._received += data
        if len(self._received) < self._needed:
            return []
        whole, at, frames = bytes(self._received), 0, []
        while True:
            self._needed = _SIZE.size
            if len(whole) - at < self._needed:
                break
            self._needed += _SIZE.unpack_from(whole, at)[0]
            if len(whole) - at < self._needed:
                break
            frames.append(_frame(whole, at + _SIZE.size))
            at += self._needed
        self._received = bytearray(whole[at:])
        return frames


def _frame(whole: bytes, at: int) -> Frame:
    kind, count = _HEAD.unpack_from(whole, at)
    at += _HEAD.size
    sizes = struct.unpack_from(f"<{count}I", whole, at)
    at += _SIZE.size * count
    blocks = []
    for size in sizes:
        blocks.append(whole[at : at + size])
        at += size
    return Frame(kind, blocks)


def encode_request(job: ExplainJob, attempt: int) -> bytes:
    blocks: list[bytes] = []
    body = job.model_dump_json(exclude_defaults=True, context=blocks).encode()
    return encode(Kind.REQUEST, {"attempt": attempt}, body, *blocks)


def decode_request(frame: Frame) -> tuple[ExplainJob, int]:
    """The job and the number of the attempt."""
    _, body, *blocks = frame.blocks
    return ExplainJob.model_validate_json(body, context=blocks), int(frame.head["attempt"])


class Reply(NamedTuple):
    """A result with the seconds that it took to compute, together with the jobs that shared its passes."""

    result: JobResult
    seconds: float


def encode_reply(job_id: str, attempt: int, reply: Reply) -> bytes:
    result = reply.result
    facts = {"method": result.method, "residual": result.residual, "complete": result.complete}
    head = {"id": job_id, "attempt": attempt, "seconds": reply.seconds, **facts}
    return encode(Kind.REPLY, head, result.head, *result.rows)


def decode_reply(frame: Frame, head: Mapping[str, Any]) -> Reply:
    """head: of the frame."""
    _, first, *rows = frame.blocks
    return Reply(JobResult(first, rows, head["method"], head["residual"], head["complete"]), head["seconds"])


def decode_error(head: Mapping[str, Any]) -> JobError:
    return JobError(code=head["code"], message=head["message"])


def encode_error(job_id: str, attempt: int, error: JobError) -> bytes:
    return encode(Kind.ERROR, {"id": job_id, "attempt": attempt, **error.model_dump()})
