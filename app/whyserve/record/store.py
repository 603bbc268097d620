"""The tables of the decision record, on SQLite or PostgreSQL.

records   one row per record: its head (the chained bytes), the columns of the head, and the content with its salt
chains    one row per chain: its last record, and the last record that was purged
builds    the builds that records name
facts     the version of these tables, and the key of hashed columns
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from whyserve.errors import ConfigurationError, RecordUnavailable, UnknownPrediction, first_line
from whyserve.record.chain import Chain, Rec, commitment, now_us
from whyserve.record.content import Content

# Raise it when the tables change, and add a step to MIGRATIONS.
VERSION = 1
# By version: the statements that make the next version of the tables.
MIGRATIONS: dict[int, Sequence[str]] = {}
# Rows of one transaction of a purge.
PURGE_ROWS = 10_000
UNKNOWN = "the record has no prediction with this id"

META = sa.MetaData()
LARGE, TEXT = sa.LargeBinary, sa.String
RECORDS = sa.Table(
    "records",
    META,
    sa.Column("writer", TEXT, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id", TEXT, nullable=False, unique=True),
    sa.Column("time", sa.BigInteger, nullable=False, index=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("model", TEXT),
    sa.Column("manifest", TEXT),
    sa.Column("caller", TEXT),
    sa.Column("about", TEXT),
    sa.Column("head", LARGE, nullable=False),
    sa.Column("hash", TEXT, nullable=False),
    sa.Column("salt", LARGE),
    sa.Column("content", LARGE),
)
# Most records are about no other one.
sa.Index("records_about", RECORDS.c.about, sqlite_where=RECORDS.c.about.is_not(None),
         postgresql_where=RECORDS.c.about.is_not(None))  # fmt: skip
CHAINS = sa.Table(
    "chains",
    META,
    sa.Column("writer", TEXT, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", TEXT, nullable=False),
    sa.Column("purged_seq", sa.BigInteger, nullable=False),
    sa.Column("purged_hash", TEXT, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
)
BUILDS = sa.Table(
    "builds",
    META,
    sa.Column("manifest", TEXT, primary_key=True),
    sa.Column("model", TEXT, nullable=False),
)
FACTS = sa.Table("facts", META, sa.Column("name", TEXT, primary_key=True), sa.Column("value", TEXT, nullable=False))
BYTES = sa.func.length(RECORDS.c.head) + sa.func.coalesce(sa.func.length(RECORDS.c.content), 0)


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

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._builds: set[str] = set()  # those that this process has entered
        with self._begin() as db:
            if engine.dialect.name == "postgresql":
                db.execute(sa.text("SELECT pg_advisory_xact_lock(7416029)"))  # two processes may create the tables
            META.create_all(db)
            self.key = bytes.fromhex(_facts(db)["key"])

    @classmethod
    def open(cls, address: str) -> "Store":
        """Open the record, and create its tables if there are none.

        Raises ConfigurationError if the address is invalid or the tables are of a later version of Whyserve.
        """
        return cls(engine_of(address))

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as db:
                yield db
        except sa.exc.SQLAlchemyError as error:
            why = first_line(getattr(error, "orig", None) or error)
            raise RecordUnavailable(f"the decision record cannot be used: {why}", retry_after_s=1) from error

    # -- writing -----------------------------------------------------------------------------------------

    def append(self, chain: Chain, records: Sequence[Rec]) -> None:
        """Write the records that were last added to a chain. They are on disk when this returns."""
        with self._begin() as db:
            self._append(db, chain, records)

    def _append(self, db: Connection, chain: Chain, records: Sequence[Rec]) -> None:
        if new := {r["manifest"]: r["model"] for r in records if r["manifest"] and r["manifest"] not in self._builds}:
            known = set(db.scalars(sa.select(BUILDS.c.manifest).where(BUILDS.c.manifest.in_(new))))
            if missing := [{"manifest": each, "model": model} for each, model in new.items() if each not in known]:
                db.execute(_insert_new(db, BUILDS), missing)
        db.execute(sa.insert(RECORDS), records)
        end = {"seq": chain.seq, "hash": chain.last}
        size = sum(len(each["head"]) + len(each["content"] or b"") for each in records)
        mine = CHAINS.c.writer == chain.writer
        if not db.execute(sa.update(CHAINS).where(mine).values(**end, bytes=CHAINS.c.bytes + size)).rowcount:
            before = {"purged_seq": records[0]["seq"] - 1, "purged_hash": orjson.loads(records[0]["head"])["previous"]}
            db.execute(sa.insert(CHAINS).values(writer=chain.writer, bytes=size, **end, **before))
        self._builds |= new.keys()  # if the transaction fails, the writer opens a new store

    def resume(self, writer: str) -> Chain:
        """A chain as it is stored; a new one if nothing of it is."""
        with self._begin() as db:
            found = db.execute(sa.select(CHAINS.c.seq, CHAINS.c.hash).where(CHAINS.c.writer == writer)).first()
        return Chain(writer, *(found or ()))

    def checkpoint(self, chain: Chain, known: dict[str, int], **facts: Any) -> Rec:
        """Add a record that names the last record of every chain. known: those that the last checkpoint of this chain
        has named; only chains that have grown are named again.
        """
        with self._begin() as db:
            ends = {each.writer: (each.seq, each.hash) for each in db.execute(sa.select(CHAINS))}
            named = {writer: end for writer, end in ends.items() if known.get(writer) != end[0]}
            record = chain.add("checkpoint", chains=named, **facts)
            self._append(db, chain, [record])
        known.clear()
        known.update({writer: seq for writer, (seq, _) in ends.items()} | {chain.writer: chain.seq})
        return record

    # -- reading -----------------------------------------------------------------------------------------

    def find(self, record_id: str) -> Found:
        """Raises UnknownPrediction."""
        with self._begin() as db:
            row = db.execute(_decision(record_id)).first()
            if row is None:
                raise UnknownPrediction(UNKNOWN, field="prediction")
            related = [each.id for each in self._related(db, row) if each.id != record_id]
            erasures = sa.select(RECORDS.c.head).where(RECORDS.c.about == record_id, RECORDS.c.kind == "erasure")
            erased = [orjson.loads(head)["row"] for head in db.scalars(erasures)]
        content = None if row.content is None else Content.unpack(row.content)
        return Found(orjson.loads(row.head), content, related, erased)

    @staticmethod
    def _related(db: Connection, row: Any) -> Sequence[Any]:
        """A record, the records about it, and the records about the same explanation."""
        same = sa.or_(RECORDS.c.id == row.id, RECORDS.c.about.in_([each for each in (row.id, row.about) if each]))
        return db.execute(sa.select(RECORDS).where(same, RECORDS.c.model.is_not(None)).order_by(RECORDS.c.time)).all()

    def heads(
        self, *, limit: int, after: tuple[int, str] = (0, ""), until: int | None = None, **equal: str | None
    ) -> list[dict[str, Any]]:
        """The heads of decisions, from old to new. after: time and id. equal: values of columns; None is any."""
        key = sa.tuple_(RECORDS.c.time, RECORDS.c.id)
        wanted = [RECORDS.c.model.is_not(None), key > sa.tuple_(*after)]
        wanted += [RECORDS.c[name] == value for name, value in equal.items() if value is not None]
        wanted += [RECORDS.c.time < until] if until is not None else []
        with self._begin() as db:
            query = sa.select(RECORDS.c.head).where(*wanted).order_by(RECORDS.c.time, RECORDS.c.id).limit(limit)
            return [orjson.loads(head) for head in db.scalars(query)]

    def every(self, *kinds: str) -> Iterator[Any]:
        """All records, by chain and number. kinds: only of these."""
        query = sa.select(RECORDS).order_by(RECORDS.c.writer, RECORDS.c.seq)
        with self._begin() as db:
            part = db.execution_options(yield_per=1000)
            yield from part.execute(query.where(RECORDS.c.kind.in_(kinds)) if kinds else query)

    def chains(self) -> list[Any]:
        with self._begin() as db:
            return list(db.execute(sa.select(CHAINS).order_by(CHAINS.c.writer)))

    def builds(self) -> dict[str, str]:
        """The model of each build that a record names, by the digest of its manifest."""
        with self._begin() as db:
            return {each.manifest: each.model for each in db.execute(sa.select(BUILDS))}

    # -- erasing and purging -----------------------------------------------------------------------------

    def erase(self, chain: Chain, record_id: str, row: int | None, by: str | None) -> int:
        """Erase the content of a decision, or of one row of it, also in its explanations. Returns how many records.

        Raises UnknownPrediction. Each erasure is a record of `chain`.
        """
        erasures = []
        with self._begin() as db:
            first = db.execute(
                sa.select(RECORDS).where(RECORDS.c.id == record_id, RECORDS.c.model.is_not(None))
            ).first()
            if first is None or (row is not None and row >= orjson.loads(first.head)["rows"]):
                raise UnknownPrediction(UNKNOWN if first is None else f"the prediction has no row {row}")
            for each in self._related(db, first):
                if each.content is None:
                    continue
                kept = None
                if row is not None and orjson.loads(each.head)["rows"] > 1:
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
                self._append(db, chain, erasures)
        self._forget()
        return len(erasures)

    def purge(self, chain: Chain, before: int) -> int:
        """Delete the records before a time (microseconds), of each chain from its beginning. Returns how many.

        A record of `chain` names the last purged record of each chain.
        """
        count = 0
        with self._begin() as db:
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
                self._note_purge(db, chain, before)
        self._forget()
        return count

    def _note_purge(self, db: Connection, chain: Chain, before: int) -> None:
        purged = db.execute(sa.select(CHAINS).where(CHAINS.c.purged_seq > 0)).all()
        anchors = {each.writer: (each.purged_seq, each.purged_hash) for each in purged}
        self._append(db, chain, [chain.add("purge", before=before, anchors=anchors)])
        empty = sa.and_(CHAINS.c.purged_seq == CHAINS.c.seq, CHAINS.c.writer != chain.writer)
        db.execute(sa.delete(CHAINS).where(empty))
        named = sa.select(RECORDS.c.manifest).where(RECORDS.c.manifest.is_not(None)).distinct()
        db.execute(sa.delete(BUILDS).where(BUILDS.c.manifest.not_in(named)))
        self._builds.clear()

    def time_to_keep(self, most_bytes: int) -> int | None:
        """The time before which records must go, so that the rest has at most so many bytes; None if all may stay."""
        with self._begin() as db:
            over = (db.scalar(sa.select(sa.func.sum(CHAINS.c.bytes))) or 0) - most_bytes
            if over <= 0:
                return None
            oldest = sa.select(RECORDS.c.time, BYTES).order_by(RECORDS.c.time)
            with db.execution_options(yield_per=1000).execute(oldest) as rows:
                for time, size in rows:
                    over -= size
                    if over <= 0:
                        return int(time) + 1
        return now_us()

    def _forget(self) -> None:
        """Remove what SQLite's log still has of deleted content. PostgreSQL's VACUUM does it by itself, later."""
        if self._engine.dialect.name == "sqlite":
            with self._engine.connect() as db:
                db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _decision(record_id: str) -> sa.Select[Any]:
    """Only decisions and explanations have a model."""
    return sa.select(RECORDS).where(RECORDS.c.id == record_id, RECORDS.c.model.is_not(None))


def engine_of(address: str) -> Engine:
    """Raises ConfigurationError."""
    try:
        url = sa.make_url(address)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() not in ("sqlite", "postgresql") or not url.database:
            raise ConfigurationError("WHYSERVE_RECORD: must be sqlite:///FILE or postgresql://USER@HOST/DATABASE")
        engine = sa.create_engine(url, pool_pre_ping=url.get_backend_name() == "postgresql", hide_parameters=True)
    except (sa.exc.ArgumentError, ValueError) as error:
        # The message of the error may hold the password.
        raise ConfigurationError("WHYSERVE_RECORD: is not an address of a database") from error
    except ModuleNotFoundError as error:
        raise ConfigurationError(f'WHYSERVE_RECORD: {error.name} is missing; install the extra "record"') from error
    if url.get_backend_name() == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # secure_delete: erased content is overwritten in the file. FULL: a commit is on disk.
    for setting in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "busy_timeout=10000"):
        connection.execute(f"PRAGMA {setting}").close()


def _facts(db: Connection) -> dict[str, str]:
    """The facts of the tables; of new ones, first written. Older tables are migrated. Raises ConfigurationError."""
    found = {each.name: each.value for each in db.execute(sa.select(FACTS))}
    if not found:
        found = {"version": str(VERSION), "key": secrets.token_hex(32)}
        db.execute(sa.insert(FACTS), [{"name": name, "value": value} for name, value in found.items()])
    version = int(found["version"])
    if version > VERSION:
        raise ConfigurationError(
            f"WHYSERVE_RECORD: made by a later version of Whyserve (version {version} of the record, this program has"
            f" {VERSION}); start that version"
        )
    for each in range(version, VERSION):
        for statement in MIGRATIONS[each]:
            db.execute(sa.text(statement))
    db.execute(sa.update(FACTS).where(FACTS.c.name == "version").values(value=str(VERSION)))
    return found


def _insert_new(db: Connection, table: sa.Table) -> Any:
    """INSERT that leaves rows alone which another process has inserted."""
    if db.dialect.name == "sqlite":
        return sa.insert(table).prefix_with("OR IGNORE")
    from sqlalchemy.dialects.postgresql import insert  # noqa: PLC0415

    return insert(table).on_conflict_do_nothing()
