"""A chain of records: each record's head holds the hash of the head before it.

A head is JSON, and its bytes are what is hashed. It commits to the record's content by a salted digest, so the content
and its salt can be erased without a break in the chain.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Mapping
from typing import Any

import orjson

# What the first record of a chain names as the hash before it.
GENESIS = "0" * 64
SALT_BYTES = 16

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


def new_id() -> str:
    """128 bits, of which the first are the time: the ids of one process grow."""
    return f"{now_us() // 1000:012x}{secrets.token_hex(10)}"
