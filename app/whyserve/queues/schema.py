"""The embedded queue's tables. `place` orders the queued jobs, then their order of arrival.

Places are seconds of counted work, by start-time fair queueing (Goyal, Vin & Cheng 1996). `turns`: of each caller's
next job.
"""

import sqlite3

# The -wal file is cut to this size after a large transaction.
WAL_BYTES = 4 << 20
TABLES = """
CREATE TABLE jobs (
  id TEXT PRIMARY KEY,
  batch_key TEXT NOT NULL,     -- jobs with equal batch keys may be computed together
  digest TEXT NOT NULL,        -- of the manifest that a worker needs
  expected INTEGER NOT NULL,   -- bytes of the answer
  caller TEXT,
  idempotency_key TEXT UNIQUE,
  request_hash TEXT,
  place REAL NOT NULL DEFAULT 0,
  deadline REAL,               -- this and all other times: seconds since the epoch
  status TEXT NOT NULL DEFAULT 'queued',
  progress REAL NOT NULL DEFAULT 0,
  standard_error REAL,
  deliveries INTEGER NOT NULL DEFAULT 0,  -- also the fence
  owner TEXT,
  lease_until REAL,
  error TEXT,
  finished REAL
);
CREATE TABLE contents (        -- apart from jobs: a change of a job's row must not write them again
  job TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE, part TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (job, part));
CREATE INDEX line ON jobs (place) WHERE status = 'queued';
CREATE TABLE turns (caller TEXT PRIMARY KEY, place REAL NOT NULL);
CREATE INDEX open ON jobs (deadline) WHERE finished IS NULL;
CREATE INDEX leased ON jobs (lease_until) WHERE status = 'running';
CREATE INDEX ended ON jobs (finished) WHERE finished IS NOT NULL;
CREATE TABLE job_metrics (finished REAL NOT NULL, body TEXT NOT NULL);  -- of finished jobs, not yet counted
CREATE TABLE workers (owner TEXT PRIMARY KEY, digests TEXT NOT NULL, alive_until REAL NOT NULL);
"""


def prepare(db: sqlite3.Connection) -> None:
    """Set the connection's options, and create the tables in a new file."""
    # Before the first table: free pages can then be cut off the file.
    db.execute("PRAGMA auto_vacuum=INCREMENTAL")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
    db.execute("PRAGMA foreign_keys=ON")
    # A commit is on disk before it returns: an accepted job survives the end of the process and of the machine.
    db.execute("PRAGMA synchronous=FULL")
    if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return
    db.execute("BEGIN IMMEDIATE")
    for statement in TABLES.split(";")[:-1]:
        db.execute(statement)
    db.execute("COMMIT")
