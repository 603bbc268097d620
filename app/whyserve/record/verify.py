"""Find records that were changed, added, removed or reordered after they were written."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple

import orjson

from whyserve.record.chain import COLUMNS, GENESIS, commitment, hash_of
from whyserve.record.store import Store


class Fault(NamedTuple):
    """The first fault of a chain. seq: the number of the record."""

    writer: str
    seq: int
    what: str

    @property
    def text(self) -> str:
        return f"chain {self.writer}, record {self.seq}: {self.what}"


class Claims:
    """What records and checkpoints elsewhere say of other records.

    ends: (writer, seq) → hash, by checkpoints. purged: (writer, seq) → hash, by purges. left: id → the digest of the
    content that its last erasure has left.
    """

    def __init__(self, store: Store, checkpoints: Iterable[dict[str, Any]]) -> None:
        self.ends: dict[tuple[str, int], str] = {}
        self.purged: dict[tuple[str, int], str] = {}
        self.left: dict[str, tuple[int, str | None]] = {}
        for each in store.every("checkpoint", "purge", "erasure"):
            # A head that was changed may have any form. It is reported where its chain is checked.
            with suppress(KeyError, TypeError, ValueError, AttributeError):
                self._read(_parsed(each.head))
        for line in checkpoints:
            self.ends |= {(writer, seq): end for writer, (seq, end) in line["chains"].items()}
            self.ends[line["writer"], line["seq"]] = line["hash"]
        self.purged_to: dict[str, int] = {}
        for writer, seq in self.purged:
            self.purged_to[writer] = max(seq, self.purged_to.get(writer, 0))

    def _read(self, head: dict[str, Any]) -> None:
        for table, name in ((self.ends, "chains"), (self.purged, "anchors")):
            table.update({(writer, seq): end for writer, (seq, end) in head.get(name, {}).items()})
        if "left" in head and head["time"] >= self.left.get(head["about"], (0, None))[0]:
            self.left[head["about"]] = head["time"], head["left"]


def verify(store: Store, checkpoints: Iterable[dict[str, Any]] = ()) -> Iterator[Fault]:
    """The first fault of each chain. checkpoints: lines of the second store.

    A change that also rewrites the rest of its chain, and all chains with their checkpoints, is only found with
    checkpoints that are kept elsewhere.
    """
    with store.snapshot() as seen:
        yield from _faults(seen, checkpoints)


def _faults(store: Store, checkpoints: Iterable[dict[str, Any]]) -> Iterator[Fault]:
    claims = Claims(store, checkpoints)
    ends = {each.writer: (each.seq, each.hash) for each in store.chains()}
    for writer, records in groupby(store.every(), lambda each: each.writer):
        yield from _chain_fault(str(writer), records, claims, ends.pop(writer, None))
    for writer, (seq, end) in ends.items():
        if claims.purged.get((writer, seq)) != end:
            yield Fault(writer, seq, "all records of the chain are missing")
    for writer, seq in claims.ends:
        # Chains of which a record was seen have been checked.
        if seq > claims.purged_to.get(writer, 0):
            yield Fault(writer, seq, "a checkpoint names this record, but it is missing")


def _chain_fault(writer: str, records: Iterable[Any], claims: Claims, end: tuple[int, str] | None) -> Iterator[Fault]:
    """The first fault of one chain, if it has one. The claims about it are removed."""
    seq, last, fault = 0, GENESIS, None
    named = {at: claims.ends.pop((writer, at)) for name, at in list(claims.ends) if name == writer}
    for each in records:
        if seq == 0 and each.seq > 1:  # the first records were purged
            seq, last = each.seq - 1, claims.purged.get((writer, each.seq - 1), "")
        what = _record_fault(each, seq + 1, last, claims)
        seq, last = each.seq, "" if what else hash_of(each.head)
        if what is None and named.pop(seq, last) != last:
            what = "is not the record that a checkpoint names"
        if what:
            fault = Fault(writer, seq, what)
            break
    else:
        missing = [at for at in named if at > claims.purged_to.get(writer, 0)]
        if end is not None and end != (seq, last):
            fault = Fault(writer, seq + 1 if seq < end[0] else seq, "the chain does not end where it must")
        elif end is None:
            fault = Fault(writer, seq, "the chain was added")
        elif missing:
            fault = Fault(writer, min(missing), "a checkpoint names this record, but it is missing")
    if fault:
        yield fault


def _record_fault(record: Any, seq: int, last: str, claims: Claims) -> str | None:
    if record.seq != seq:
        return f"record {seq} is missing"
    head, blocks = _parsed(record.head), (record.head, record.salt, record.content)
    is_whole = all(isinstance(block, bytes | None) for block in blocks) and hash_of(record.head) == record.hash
    if not is_whole or any(head.get(name) != getattr(record, name) for name in COLUMNS):
        return "was changed"
    if head["previous"] != last:
        return "does not follow the record before it: records were removed, added or reordered"
    erased, left = claims.left.get(record.id, (0, None))
    wanted = left if erased else head["content"]
    if record.content is None:
        return None if wanted is None else "its content is missing, and no record says that it was erased"
    if record.salt is None or commitment(record.salt, record.content) != wanted:
        return "its content was changed"
    return None


def _parsed(head: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(head)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
