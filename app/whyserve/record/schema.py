"""The tables of the decision record, on SQLite or PostgreSQL.

records   one row per record: its head (the chained bytes), the columns of the head, and the content with its salt
chains    one row per chain: its last record, and the last record that was purged
builds    the builds that records name
facts     the version of these tables, and the key of hashed columns
"""

import secrets
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect, Engine

from whyserve.errors import ConfigurationError

# Raise it when the tables change, and add a step to MIGRATIONS.
VERSION = 1
# By version: the statements that make the next version of the tables.
MIGRATIONS: dict[int, Sequence[str]] = {}
MISSING = "WHYSERVE_RECORD: there is no decision record at this address; the API makes it when it starts"

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
COLUMNS = [each.name for each in RECORDS.c]
KEEP_BUILDS = sa.text("INSERT INTO builds (manifest, model) VALUES (:manifest, :model) ON CONFLICT DO NOTHING")
KEEP_END = sa.text("""INSERT INTO chains (writer, seq, hash, purged_seq, purged_hash, bytes)
VALUES (:writer, :seq, :hash, :purged_seq, :purged_hash, :bytes)
ON CONFLICT (writer) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, bytes = chains.bytes + excluded.bytes""")
BYTES = sa.func.length(RECORDS.c.head) + sa.func.coalesce(sa.func.length(RECORDS.c.content), 0)


def engine_of(address: str, *, create: bool) -> Engine:
    """create: whether SQLite may make a new file. Raises ConfigurationError."""
    try:
        url = sa.make_url(address)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() not in ("sqlite", "postgresql") or not url.database:
            raise ConfigurationError("WHYSERVE_RECORD: must be sqlite:///FILE or postgresql://USER@HOST/DATABASE")
        engine = sa.create_engine(url, hide_parameters=True)
    except (sa.exc.ArgumentError, ValueError) as error:
        # The message of the error may hold the password.
        raise ConfigurationError("WHYSERVE_RECORD: is not an address of a database") from error
    except ModuleNotFoundError as error:
        raise ConfigurationError(f'WHYSERVE_RECORD: {error.name} is missing; install the extra "record"') from error
    if url.get_backend_name() == "sqlite":
        if not create and not Path(url.database).is_file():
            raise ConfigurationError(MISSING)
        sa.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # secure_delete: erased content is overwritten in the file. FULL: a commit is on disk.
    for setting in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "busy_timeout=10000"):
        connection.execute(f"PRAGMA {setting}").close()


def prepare(db: Connection, *, create: bool) -> dict[str, str]:
    """The facts of the tables. Missing tables are made if `create` is true, and older ones are migrated.

    Raises ConfigurationError if there are no tables, or if they are of a later version of Whyserve.
    """
    if create:
        META.create_all(db)
    elif not sa.inspect(db).has_table(FACTS.name):
        raise ConfigurationError(MISSING)
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


def insert_records(db: Connection, records: Sequence[dict[str, Any]], end: dict[str, Any]) -> None:
    """Insert records of one chain, with their builds. end: the new values of the chain's row. PostgreSQL gets a single
    statement.
    """
    builds = {each["manifest"]: each["model"] for each in records if each["manifest"]}
    if db.dialect.name == "postgresql":
        columns = {f"_{name}": [each[name] for each in records] for name in COLUMNS}
        named = {"manifests": list(builds), "models": list(builds.values())}
        db.execute(_insert_all(db.dialect), {**columns, **named, **end})
        return
    db.execute(sa.insert(RECORDS), records)
    if builds:
        db.execute(KEEP_BUILDS, [{"manifest": each, "model": model} for each, model in builds.items()])
    db.execute(KEEP_END, end)


@cache
def _insert_all(dialect: Dialect) -> sa.TextClause:
    """Arrays of columns → all rows. It is one statement: a statement of its own for each row costs much more."""
    names = ", ".join(COLUMNS)
    arrays = ", ".join(f"CAST(:_{each.name} AS {each.type.compile(dialect)}[])" for each in RECORDS.c)
    builds = "CAST(:manifests AS VARCHAR[]), CAST(:models AS VARCHAR[])"
    return sa.text(
        f"WITH kept AS (INSERT INTO records ({names}) SELECT * FROM unnest({arrays})), named AS (INSERT INTO builds"  # noqa: S608
        f" (manifest, model) SELECT * FROM unnest({builds}) ON CONFLICT DO NOTHING) {KEEP_END.text}"
    )
