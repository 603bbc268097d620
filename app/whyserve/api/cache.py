"""A cache of explanations by row, so that equal requests are computed once.

A row's key covers all that its explanation depends on: the manifest's digest (which covers the network's and the
backgrounds' digests), background, players, scale, interactions, method, samples, standard error, seed, outputs, the
row, its id, the positions of its tokens, the prediction, and what else the answer has. The key also covers the caller:
no caller can tell from an answer's time what other callers requested.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import orjson

from whyserve.jobs import ExplainJob, JobResult
from whyserve.telemetry.metrics import CACHE_ROWS

# About 10 MB of keys.
MAX_EXPECTED_ROWS = 100_000


class ExplanationCache:
    """Holds at most `max_bytes`; drops the least recently used rows first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        # Row's key → (the answer without its explanations, the row's explanation), as JSON.
        self._rows: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()
        # Job's id → its rows' keys, until the API sees its result: at once, or when the caller fetches it.
        self._expected: OrderedDict[str, list[bytes]] = OrderedDict()
        self._expected_rows = 0

    def keys(self, job: ExplainJob) -> list[bytes]:
        """One key per row; no keys if nothing is cached: for a summary, or with a size of 0."""
        return row_keys(job) if self._max_bytes and not job.summary else []

    def answer(self, keys: Sequence[bytes]) -> list[bytes] | None:
        """The answer in parts, if the cache has every row. It has `cached`, and the id of the job that computed it."""
        if not keys:
            return None
        entries = [entry for key in keys if (entry := self._rows.get(key)) is not None]
        if len(entries) < len(keys):
            CACHE_ROWS.labels("no").inc(len(keys))
            return None
        CACHE_ROWS.labels("yes").inc(len(keys))
        for key in keys:
            self._rows.move_to_end(key)
        rows = [part for _, row in entries for part in (b",", row)]
        return [entries[0][0][:-1] + b',"cached":true,"explanations":[', *rows[1:], b"]}"]

    def put(self, keys: Sequence[bytes], result: JobResult) -> None:
        """Cache the rows of a result, unless a deadline ended it early. keys: of the rows, or none."""
        if result.complete:
            for key, row in zip(keys, result.rows, strict=False):
                self._put(key, (result.head, row))

    def expect(self, job_id: str, keys: list[bytes]) -> None:
        """Remember a job's keys for `keep`. Beyond MAX_EXPECTED_ROWS keys, the oldest jobs are dropped."""
        if keys:
            self._expected[job_id] = keys
            self._expected_rows += len(keys)
        while self._expected_rows > MAX_EXPECTED_ROWS:
            _, dropped = self._expected.popitem(last=False)
            self._expected_rows -= len(dropped)

    def keep(self, job_id: str, answer: bytes) -> None:
        """Cache an expected job's answer once, unless a deadline ended it early."""
        keys = self.forget(job_id)
        if not keys:
            return
        body: dict[str, Any] = orjson.loads(answer)
        rows = [_compact(row) for row in body.pop("explanations")]
        self.put(keys, JobResult(_compact(body), rows, complete=body.get("complete", True)))

    def forget(self, job_id: str) -> list[bytes] | None:
        """Drop an expected job. Returns its rows' keys."""
        keys = self._expected.pop(job_id, None)
        self._expected_rows -= len(keys or ())
        return keys

    def _put(self, key: bytes, entry: tuple[bytes, bytes]) -> None:
        if (old := self._rows.pop(key, None)) is not None:
            self._bytes -= _size(old)
        self._rows[key] = entry
        self._bytes += _size(entry)
        while self._bytes > self._max_bytes:
            _, dropped = self._rows.popitem(last=False)
            self._bytes -= _size(dropped)


def _compact(value: Any) -> bytes:
    """JSON in a block of its length. orjson returns bytes in a block of up to thirty times their length."""
    return bytes(bytearray(orjson.dumps(value)))


def _size(entry: tuple[bytes, bytes]) -> int:
    return 500 + len(entry[0]) + len(entry[1])  # the measured size of an entry without its content


def row_keys(job: ExplainJob) -> list[bytes]:
    """One key of 256 bits per row."""
    game = (job.digest, job.background_key, job.players_key, job.scale)
    how = (job.method, job.samples, job.standard_error, job.seed)
    what = (job.interactions, job.reasons, job.similar)
    common = hashlib.sha256(repr((*game, *how, *what, job.caller)).encode())
    arrays = [job.rows[name].unpack() for name in sorted(job.rows)] + [job.served.unpack()]
    keys = []
    for row, outputs in enumerate(job.outputs):
        digest = common.copy()
        digest.update(repr((outputs, job.ids[row] if job.ids else None)).encode())
        # Texts with equal token ids may have their tokens at different positions.
        digest.update(repr([(name, job.texts[name][row]) for name in sorted(job.texts)]).encode())
        for array in arrays:
            digest.update(array[row].tobytes())
        keys.append(digest.digest())
    return keys
