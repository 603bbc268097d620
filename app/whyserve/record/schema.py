"""The tables of the decision record, on SQLite or PostgreSQL.

records   one row per record: its head (the chained bytes), the columns of the head, and the content with its salt
chains    one row per chain: its last record, and the last record that was purged
builds    the builds that records name
facts     the version of these tables, and the key of hashed columns
"""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

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
BYTES = sa.func.length(RECORDS.c.head) + sa.func.coalesce(sa.func.length(RECORDS.c.content), 0)


def engine_of(address: str, *, create: bool) -> Engine:
    """create: whether SQLite may make a new file. Raises ConfigurationError."""
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
    if db.dialect.name == "postgresql":
        db.execute(sa.text("SELECT pg_advisory_xact_lock(7416029)"))  # two processes may create the tables
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


def insert_new(db: Connection, table: sa.Table) -> Any:
    """INSERT that leaves rows alone which another process has inserted."""
    if db.dialect.name == "sqlite":
        return sa.insert(table).prefix_with("OR IGNORE")
    from sqlalchemy.dialects.postgresql import insert  # noqa: PLC0415

    return insert(table).on_conflict_do_nothing()
