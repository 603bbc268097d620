"""A chain of records: each record's head holds the hash of the head before it.

A head is JSON, and its bytes are what is hashed. It commits to the record's content by a salted digest, so the content
and its salt can be erased without a break in the chain.
"""

import hashlib
import os
import re
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from whyserve.errors import InvalidInput, UnknownPrediction

# What the first record of a chain names as the hash before it.
GENESIS = "0" * 64
SALT_BYTES = 16
UNKNOWN = "the record has no prediction with this id"

Rec = dict[str, Any]
"""A row of the table of records."""


class Chain:
    """The records of one writer. One thread at a time adds to it."""

    def __init__(self, writer: str | None = None, seq: int = 0, last: str = GENESIS) -> None:
        """writer: the chain's name, a new one by default. seq, last: number and hash of its last record."""
        self.writer, self.seq, self.last = writer or secrets.token_hex(8), seq, last

    def add(self, kind: str, content: bytes | None = None, **facts: Any) -> Rec:
        """The next record. facts: id and time, if they are known, and all that the head says of it."""
        salt = None if content is None else os.urandom(SALT_BYTES)
        head = {
            "writer": self.writer,
            "seq": self.seq + 1,
            "previous": self.last,
            "id": facts.pop("id", None) or new_id(),
            "time": facts.pop("time", None) or now_us(),
            "kind": kind,
            "content": None if content is None or salt is None else commitment(salt, content),
            **facts,
        }
        block = orjson.dumps(head)
        self.seq, self.last = self.seq + 1, hash_of(block)
        return {**columns_of(head), "head": block, "hash": self.last, "salt": salt, "content": content}


def columns_of(head: Mapping[str, Any]) -> Rec:
    """The facts of a head by which records are found: they are columns of the table too."""
    return {name: head.get(name) for name in COLUMNS}


COLUMNS = ("writer", "seq", "id", "time", "kind", "model", "manifest", "caller", "about")


def hash_of(head: bytes) -> str:
    return hashlib.sha256(head).hexdigest()


def commitment(salt: bytes, content: bytes) -> str:
    """The salted digest of a content. Without the salt, nobody can try out contents."""
    return hashlib.sha256(salt + content).hexdigest()


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def read_time(given: str, field: str) -> int:
    """Microseconds since the epoch. Raises InvalidInput."""
    try:
        when = datetime.fromisoformat(given)
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1e6)
    except (ValueError, OverflowError):
        words = f'"{field}" must be a time in ISO 8601, such as 2026-03-01T12:00:00Z'
        raise InvalidInput(words, field=field) from None


def read_place(place: str, field: str) -> tuple[str, int | None]:
    """ID or ID.ROW. Raises InvalidInput, and UnknownPrediction for what is no id."""
    prediction, dot, row = place.partition(".")
    if dot and not re.fullmatch("[0-9]{1,8}", row):
        raise InvalidInput(f'"{field}" must be ID or ID.ROW, with a row from 0', field=field)
    if not re.fullmatch("[0-9a-f]{32}", prediction):
        raise UnknownPrediction(UNKNOWN, field=field)
    return prediction, int(row) if dot else None


def check_row(head: Mapping[str, Any], row: int | None, field: str) -> None:
    """Raises UnknownPrediction if a prediction has no such row."""
    if row is not None and row >= head["rows"]:
        raise UnknownPrediction(f"the prediction has rows 0 to {head['rows'] - 1}", field=field)


def new_id() -> str:
    """128 bits, of which the first are the time: the ids of one process grow."""
    return f"{now_us() // 1000:012x}{secrets.token_hex(10)}"
