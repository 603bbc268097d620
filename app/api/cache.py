"""Explanations that were computed before, by row: the same question is answered once.

A row's key is all that its explanation depends on: the manifest's digest (which holds the network's and the
background's), method, samples, seed, outputs, the row and what was served for it; and the caller, so that nobody
learns from the time an answer takes what others have asked.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import orjson

from app.jobs import ExplainJob
from app.metrics import CACHE_ROWS


class ExplanationCache:
    """Bounded by what its entries take; the least lately used goes first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        # Row's key → what its answer begins with, all but the rows; and the row's own explanation.
        self._kept: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()

    def answer(self, job: ExplainJob) -> bytes | None:
        """The whole answer, where every row of the job is known; with `cached`, and the id of the one it is from."""
        if job.summary:
            return None
        keys = row_keys(job)
        found = [self._kept.get(key) for key in keys]
        known = [entry for entry in found if entry is not None]
        if len(known) < len(found):
            CACHE_ROWS.labels("no").inc(len(found))
            return None
        CACHE_ROWS.labels("yes").inc(len(found))
        for key in keys:
            self._kept.move_to_end(key)
        rows = b",".join(row for _, row in known)
        return known[0][0][:-1] + b',"cached":true,"explanations":[' + rows + b"]}"

    def keep(self, job: ExplainJob, answer: bytes) -> None:
        """Remember a job's answer, unless a deadline cut it short."""
        body: dict[str, Any] = orjson.loads(answer)
        rows: Sequence[Any] = body.pop("explanations")
        if not body.get("complete", True):
            return
        head = orjson.dumps(body)
        for key, row in zip(row_keys(job), rows, strict=True):
            self._put(key, (head, orjson.dumps(row)))

    def _put(self, key: bytes, entry: tuple[bytes, bytes]) -> None:
        if (old := self._kept.pop(key, None)) is not None:
            self._bytes -= _size(old)
        self._kept[key] = entry
        self._bytes += _size(entry)
        while self._bytes > self._most_bytes:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= _size(gone)


def _size(entry: tuple[bytes, bytes]) -> int:
    return 300 + len(entry[0]) + len(entry[1])  # about what a dictionary's entry takes besides


def row_keys(job: ExplainJob) -> list[bytes]:
    """One key a row, of 256 bits."""
    common = hashlib.sha256(repr((job.digest, job.method, job.samples, job.seed, job.caller)).encode())
    arrays = [job.rows[name].unpack() for name in sorted(job.rows)] + [job.served.unpack()]
    keys = []
    for row, outputs in enumerate(job.outputs):
        digest = common.copy()
        digest.update(repr(outputs).encode())
        for array in arrays:
            digest.update(array[row].tobytes())
        keys.append(digest.digest())
    return keys
