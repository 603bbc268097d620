"""Explanations that were computed before, by row: the same question is answered once.

A row's key is all that its explanation depends on: the manifest's digest (which holds the network's and the
backgrounds'), the background, method, samples, seed, outputs, the row, where its texts' tokens stand, and what was
served for it; and the caller, so that nobody learns from the time an answer takes what others have asked.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import orjson

from whyserve.jobs import ExplainJob
from whyserve.telemetry.metrics import CACHE_ROWS

# About 10 MB of keys.
MOST_EXPECTED_ROWS = 100_000


class ExplanationCache:
    """Bounded by what its entries take; the least lately used goes first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        # Row's key → what its answer begins with, all but the rows; and the row's own explanation.
        self._kept: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()
        # Job's id → its rows' keys, until its answer is seen: at once, or whenever its caller comes back for it.
        self._expected: OrderedDict[str, list[bytes]] = OrderedDict()
        self._expected_rows = 0

    def keys(self, job: ExplainJob) -> list[bytes]:
        """One a row; none where nothing would be kept: of a summary, or in no memory."""
        return row_keys(job) if self._most_bytes and not job.summary else []

    def answer(self, keys: Sequence[bytes]) -> bytes | None:
        """The whole answer, where every row of a job is known; with `cached`, and the id of the one it is from."""
        if not keys:
            return None
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

    def expect(self, job_id: str, keys: list[bytes]) -> None:
        """Remember what a job is of, so that its answer can be kept; of too many, the first are forgotten."""
        if keys:
            self._expected[job_id] = keys
            self._expected_rows += len(keys)
        while self._expected_rows > MOST_EXPECTED_ROWS:
            _, gone = self._expected.popitem(last=False)
            self._expected_rows -= len(gone)

    def keep(self, job_id: str, answer: bytes) -> None:
        """Remember a job's answer the first time that it is seen here, unless a deadline cut it short."""
        keys = self.forget(job_id)
        if not keys:
            return
        body: dict[str, Any] = orjson.loads(answer)
        rows: Sequence[Any] = body.pop("explanations")
        if not body.get("complete", True):
            return
        head = orjson.dumps(body)
        for key, row in zip(keys, rows, strict=True):
            self._put(key, (head, orjson.dumps(row)))

    def forget(self, job_id: str) -> list[bytes] | None:
        """Expect a job's answer no longer; gives its rows' keys."""
        keys = self._expected.pop(job_id, None)
        self._expected_rows -= len(keys or ())
        return keys

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
    common = hashlib.sha256(
        repr((job.digest, job.background_key, job.method, job.samples, job.seed, job.caller)).encode()
    )
    arrays = [job.rows[name].unpack() for name in sorted(job.rows)] + [job.served.unpack()]
    keys = []
    for row, outputs in enumerate(job.outputs):
        digest = common.copy()
        digest.update(repr(outputs).encode())
        # The same ids may come of texts whose tokens stand elsewhere.
        digest.update(repr([(name, job.texts[name][row]) for name in sorted(job.texts)]).encode())
        for array in arrays:
            digest.update(array[row].tobytes())
        keys.append(digest.digest())
    return keys
