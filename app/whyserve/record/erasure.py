"""Delete content and records so that the chains still verify: erasures, purges, and the limit of size."""

import secrets

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from whyserve.errors import UnknownPrediction
from whyserve.record.chain import UNKNOWN, Chain, check_row, commitment, now_us
from whyserve.record.content import Content
from whyserve.record.schema import BUILDS, BYTES, CHAINS, RECORDS
from whyserve.record.store import Store, decision, related_to


def erase(store: Store, chain: Chain, record_id: str, row: int | None, by: str | None) -> int:
    """Erase the content of a decision, or of one row of it, also in its explanations. Returns how many records.

    Raises UnknownPrediction. Each erasure is a record of `chain`.
    """
    erasures = []
    with store.transaction(alone=True) as db:
        first = db.execute(decision(record_id)).first()
        if first is None:
            raise UnknownPrediction(UNKNOWN, field="id")
        check_row(orjson.loads(first.head), row, "id")
        for each in related_to(db, first):
            head = orjson.loads(each.head)
            explained = head.get("asked", {}).get("prediction", "").partition(".")[2]  # one row, again
            is_other = each.id != record_id and row is not None and explained not in ("", str(row))
            if each.content is None or is_other:
                continue
            kept = None
            if row is not None and head["rows"] > 1:
                kept = Content.unpack(each.content).without_row(row).pack()
            salt = None if kept is None else secrets.token_bytes(16)
            is_it = RECORDS.c.id == each.id
            db.execute(sa.update(RECORDS).where(is_it).values(salt=salt, content=kept))
            less = len(each.content) - len(kept or b"")
            db.execute(sa.update(CHAINS).where(CHAINS.c.writer == each.writer)
                       .values(bytes=CHAINS.c.bytes - less))  # fmt: skip
            left = None if salt is None or kept is None else commitment(salt, kept)
            erasures.append(chain.add("erasure", about=each.id, row=row, left=left, caller=by))
        if erasures:
            store.append_in(db, chain, erasures)
    store.forget()
    return len(erasures)


def purge(store: Store, chain: Chain, before: int) -> int:
    """Delete the records before a time (microseconds), of each chain from its beginning. Returns how many.

    A record of `chain` names the last purged record of each chain.
    """
    count = 0
    with store.transaction(alone=True) as db:
        if db.dialect.name == "postgresql":
            # Otherwise another process could record a decision of a build while the build is deleted.
            db.exec_driver_sql("LOCK TABLE builds IN SHARE ROW EXCLUSIVE MODE")
        for each in db.execute(sa.select(CHAINS)).all():
            of = RECORDS.c.writer == each.writer
            end = db.scalar(sa.select(sa.func.min(RECORDS.c.seq)).where(of, RECORDS.c.time >= before))
            last = each.seq if end is None else end - 1
            if last <= each.purged_seq:
                continue
            gone = sa.and_(of, RECORDS.c.seq <= last)
            size = db.scalar(sa.select(sa.func.sum(BYTES)).where(gone)) or 0
            anchor = db.scalar(sa.select(RECORDS.c.hash).where(of, RECORDS.c.seq == last))
            count += db.execute(sa.delete(RECORDS).where(gone)).rowcount
            values = {"purged_seq": last, "purged_hash": anchor, "bytes": CHAINS.c.bytes - size}
            db.execute(sa.update(CHAINS).where(CHAINS.c.writer == each.writer).values(**values))
        if count:
            _note_purge(store, db, chain, before)
    store.forget()
    return count


def _note_purge(store: Store, db: Connection, chain: Chain, before: int) -> None:
    purged = db.execute(sa.select(CHAINS).where(CHAINS.c.purged_seq > 0)).all()
    anchors = {each.writer: (each.purged_seq, each.purged_hash) for each in purged}
    store.append_in(db, chain, [chain.add("purge", before=before, anchors=anchors)])
    empty = sa.and_(CHAINS.c.purged_seq == CHAINS.c.seq, CHAINS.c.writer != chain.writer)
    db.execute(sa.delete(CHAINS).where(empty))
    named = sa.select(RECORDS.c.manifest).where(RECORDS.c.manifest.is_not(None)).distinct()
    db.execute(sa.delete(BUILDS).where(BUILDS.c.manifest.not_in(named)))


def time_to_keep(store: Store, most_bytes: int) -> int | None:
    """The time before which records must go, so that the rest has at most so many bytes; None if all may stay."""
    with store.transaction() as db:
        over = (db.scalar(sa.select(sa.func.sum(CHAINS.c.bytes))) or 0) - most_bytes
        if over <= 0:
            return None
        oldest = sa.select(RECORDS.c.time, BYTES).order_by(RECORDS.c.time)
        with db.execute(oldest, execution_options={"yield_per": 1000}) as rows:
            for time, size in rows:
                over -= size
                if over <= 0:
                    return int(time) + 1
    return now_us()
