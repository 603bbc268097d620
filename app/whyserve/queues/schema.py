"""The embedded queue's tables. A line in the file is a job's place; what is final has none."""

import sqlite3

# Raised with every change below. A file of another version is emptied: it is a queue, not an archive.
VERSION = 5

TABLES = """
CREATE TABLE jobs (
  id TEXT PRIMARY KEY,
  batch_key TEXT NOT NULL,          -- jobs with one batch_key may be computed together
  digest TEXT NOT NULL,        -- of the manifest that a worker needs
  body BLOB NOT NULL,
  caller TEXT,
  idempotency_key TEXT UNIQUE,
  request_hash TEXT,
  deadline REAL,
  status TEXT NOT NULL DEFAULT 'queued',
  progress REAL NOT NULL DEFAULT 0,
  standard_error REAL,
  deliveries INTEGER NOT NULL DEFAULT 0,  -- also the fence
  owner TEXT,
  lease_until REAL,
  result BLOB,
  error TEXT,
  finished REAL
);
CREATE TABLE line (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, batch_key TEXT NOT NULL,
  digest TEXT NOT NULL, tried INTEGER NOT NULL DEFAULT 0);
CREATE INDEX open ON jobs (deadline) WHERE finished IS NULL;
CREATE INDEX leased ON jobs (lease_until) WHERE status = 'running';
CREATE INDEX ended ON jobs (finished) WHERE finished IS NOT NULL;
CREATE TABLE job_metrics (finished REAL NOT NULL, body TEXT NOT NULL);  -- of results that nobody has counted yet
CREATE TABLE workers (owner TEXT PRIMARY KEY, digests TEXT NOT NULL, alive_until REAL NOT NULL);
"""


def prepare(db: sqlite3.Connection) -> None:
    """Make the tables, unless they are there."""
    db.execute("PRAGMA journal_mode=WAL")
    # A commit is on disk before it returns: what was accepted survives the process and the machine.
    db.execute("PRAGMA synchronous=FULL")
    db.execute("BEGIN IMMEDIATE")  # two processes may open a new queue at once
    if db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
        for table in ("jobs", "line", "job_metrics", "workers"):
            db.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in TABLES.split(";")[:-1]:
            db.execute(statement)
        db.execute(f"PRAGMA user_version={VERSION}")
    db.execute("COMMIT")
