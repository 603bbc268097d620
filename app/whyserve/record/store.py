"""The decision record on SQLite or PostgreSQL: written by chains, found by id, listed by time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from whyserve.errors import RecordUnavailable, UnknownPrediction, WhyserveError, first_line
from whyserve.record.chain import UNKNOWN, Chain, Rec
from whyserve.record.content import Content
from whyserve.record.schema import BUILDS, CHAINS, RECORDS, engine_of, insert_records, prepare


@dataclass(frozen=True, slots=True)
class Found:
    """A record. head: what is chained. content: None if it was erased. related: ids of records of the same decision.
    erased: the rows that were erased; None stands for all.
    """

    head: dict[str, Any]
    content: Content | None
    related: Sequence[str] = ()
    erased: Sequence[int | None] = ()


class Store:
    """Thread-safe. Every method raises RecordUnavailable if the database does not answer."""

    def __init__(self, address: str, *, create: bool = True) -> None:
        """Open the record. create: make it if there is none.

        Raises ConfigurationError if the address is invalid, if there is no record, or if it is of a later version.
        """
        self._engine = engine_of(address, create=create)
        # In PostgreSQL, one statement appends. If it also commits, there is no round trip for BEGIN and COMMIT.
        level = {} if self._is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._appending = self._engine.execution_options(**level)
        self._shared: Connection | None = None  # of a snapshot
        try:
            with self.transaction(alone=True) as db:  # two processes may make or migrate the tables
                self.key = bytes.fromhex(prepare(db, create=create)["key"])
        except WhyserveError:
            self.close()
            raise

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def transaction(self, *, alone: bool = False) -> Iterator[Connection]:
        """alone: no other transaction with `alone` runs meanwhile, so that what was read can be changed."""
        if self._shared is not None:
            yield self._shared
            return
        with _reported(), self._engine.begin() as db:
            if alone:
                db.exec_driver_sql("BEGIN IMMEDIATE" if self._is_sqlite else "SELECT pg_advisory_xact_lock(7416030)")
            yield db

    @contextmanager
    def snapshot(self) -> Iterator[Self]:
        """A store that reads what the record holds at this moment, whatever is written meanwhile."""
        with self.transaction() as db:
            db.exec_driver_sql("BEGIN" if self._is_sqlite else "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            seen = copy(self)
            seen._shared = db
            yield seen

    @property
    def _is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    # -- writing -----------------------------------------------------------------------------------------

    def append(self, chain: Chain, records: Sequence[Rec]) -> None:
        """Write the records that were last added to a chain. They are on disk when this returns."""
        with _reported(), self._appending.begin() as db:
            self.append_in(db, chain, records)

    def append_in(self, db: Connection, chain: Chain, records: Sequence[Rec]) -> None:
        """`append` as a part of a transaction."""
        size = sum(len(each["head"]) + len(each["content"] or b"") for each in records)
        before = {"purged_seq": records[0]["seq"] - 1, "purged_hash": orjson.loads(records[0]["head"])["previous"]}
        end = {"writer": chain.writer, "seq": chain.seq, "hash": chain.last, "bytes": size, **before}
        insert_records(db, records, end)

    def resume(self, writer: str) -> Chain:
        """A chain as it is stored; a new one if nothing of it is."""
        with self.transaction() as db:
            found = db.execute(sa.select(CHAINS.c.seq, CHAINS.c.hash).where(CHAINS.c.writer == writer)).first()
        return Chain(writer, *(found or ()))

    def checkpoint(self, chain: Chain, known: dict[str, int], **facts: Any) -> Rec:
        """Add a record that names the last record of every chain. known: those that the last checkpoint of this chain
        has named; only chains that have grown are named again.
        """
        with self.transaction() as db:
            ends = {each.writer: (each.seq, each.hash) for each in db.execute(sa.select(CHAINS))}
            named = {writer: end for writer, end in ends.items() if known.get(writer) != end[0]}
            record = chain.add("checkpoint", chains=named, **facts)
            self.append_in(db, chain, [record])
        known.clear()
        known.update({writer: seq for writer, (seq, _) in ends.items()} | {chain.writer: chain.seq})
        return record

    # -- reading -----------------------------------------------------------------------------------------

    def find(self, record_id: str) -> Found:
        """Raises UnknownPrediction."""
        with self.transaction() as db:
            row = db.execute(decision(record_id)).first()
            if row is None:
                raise UnknownPrediction(UNKNOWN, field="prediction")
            related = [each.id for each in related_to(db, row) if each.id != record_id]
            erasures = sa.select(RECORDS.c.head).where(RECORDS.c.about == record_id, RECORDS.c.kind == "erasure")
            erased = [orjson.loads(head)["row"] for head in db.scalars(erasures)]
        content = None if row.content is None else Content.unpack(row.content)
        return Found(orjson.loads(row.head), content, related, erased)

    def heads(
        self, *, limit: int, after: tuple[int, str] = (0, ""), until: int | None = None, **equal: str | None
    ) -> list[dict[str, Any]]:
        """The heads of decisions, from old to new. after: time and id. equal: values of columns; None is any."""
        key = sa.tuple_(RECORDS.c.time, RECORDS.c.id)
        wanted = [RECORDS.c.model.is_not(None), key > sa.tuple_(*after)]
        wanted += [RECORDS.c[name] == value for name, value in equal.items() if value is not None]
        wanted += [RECORDS.c.time < until] if until is not None else []
        with self.transaction() as db:
            query = sa.select(RECORDS.c.head).where(*wanted).order_by(RECORDS.c.time, RECORDS.c.id).limit(limit)
            return [orjson.loads(head) for head in db.scalars(query)]

    def every(self, *kinds: str) -> Iterator[Any]:
        """All records, by chain and number. kinds: only of these."""
        query = sa.select(RECORDS).order_by(RECORDS.c.writer, RECORDS.c.seq)
        with self.transaction() as db:
            wanted = query.where(RECORDS.c.kind.in_(kinds)) if kinds else query
            yield from db.execute(wanted, execution_options={"yield_per": 1000})

    def chains(self) -> list[Any]:
        with self.transaction() as db:
            return list(db.execute(sa.select(CHAINS).order_by(CHAINS.c.writer)))

    def builds(self) -> dict[str, str]:
        """The model of each build that a record names, by the digest of its manifest."""
        with self.transaction() as db:
            return {each.manifest: each.model for each in db.execute(sa.select(BUILDS))}

    def forget(self) -> None:
        """Remove what SQLite's log still has of deleted content. PostgreSQL's VACUUM does it by itself, later."""
        if self._is_sqlite:
            with self._engine.connect() as db:
                db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _reported() -> Iterator[None]:
    """Report the database's errors as RecordUnavailable."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        why = first_line(getattr(error, "orig", None) or error)
        raise RecordUnavailable(f"the decision record cannot be used: {why}", retry_after_s=1) from error


def decision(record_id: str) -> sa.Select[Any]:
    """Only decisions have a model."""
    return sa.select(RECORDS).where(RECORDS.c.id == record_id, RECORDS.c.model.is_not(None))


def related_to(db: Connection, row: Any) -> Sequence[Any]:
    """A record, the records about it, and the records about the same job. A job's id is longer than a record's."""
    jobs = [row.about] if row.about and len(row.about) > len(row.id) else []
    same = sa.or_(RECORDS.c.id == row.id, RECORDS.c.about.in_([row.id, *jobs]))
    return db.execute(sa.select(RECORDS).where(same, RECORDS.c.model.is_not(None)).order_by(RECORDS.c.time)).all()
