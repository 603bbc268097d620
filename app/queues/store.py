"""The embedded queue's tables, in one SQLite file that API and worker share.

WAL with synchronous=FULL: a commit is on disk before it returns, so what was accepted survives the process
and the machine. Every method is one transaction and may be called from any thread.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.errors import QueueFull, UnknownExplanation
from app.jobs import ExplainJob, JobError, JobState, JobStatus, Lease, WorkerRecord, job_error

MAX_DELIVERIES = 3

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  id TEXT PRIMARY KEY,
  lane TEXT NOT NULL,          -- jobs of one lane may be computed together
  body BLOB NOT NULL,
  status TEXT NOT NULL,
  progress REAL NOT NULL DEFAULT 0,
  deliveries INTEGER NOT NULL DEFAULT 0,  -- also the fence
  owner TEXT,
  lease_until REAL,
  result BLOB,
  error TEXT,
  finished REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS line (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, lane TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS leased ON jobs (lease_until) WHERE status = 'running';
CREATE INDEX IF NOT EXISTS ended ON jobs (finished) WHERE finished IS NOT NULL;
CREATE TABLE IF NOT EXISTS workers (owner TEXT PRIMARY KEY, digests TEXT NOT NULL);
"""


class Store:
    def __init__(self, path: Path, *, depth: int, keep_s: float, lease_s: float) -> None:
        self._depth, self._keep_s, self._lease_s = depth, keep_s, lease_s
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            # IMMEDIATE: a transaction that reads first and writes later could find itself unable to.
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # -- the API's side ----------------------------------------------------------------------------

    def submit(self, job: ExplainJob) -> None:
        body = job.model_dump_json()
        lane = f"{job.digest}/{job.method}"
        with self._transaction() as db:
            db.execute("DELETE FROM jobs WHERE finished < ?", (time.time() - self._keep_s,))
            (waiting,) = db.execute("SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')").fetchone()
            if waiting >= self._depth:
                raise QueueFull(f"{waiting} explanations are waiting already; try again later", retry_after_s=1)
            db.execute("INSERT INTO jobs (id, lane, body, status) VALUES (?, ?, ?, 'queued')", (job.id, lane, body))
            db.execute("INSERT INTO line (id, lane) VALUES (?, ?)", (job.id, lane))

    def state(self, job_id: str) -> JobState:
        with self._lock:
            row = self._db.execute(
                "SELECT status, progress, result, error FROM jobs WHERE id = ?", (job_id,)
            ).fetchone()
        if row is None:
            raise UnknownExplanation("no explanation has this id, or its result is no longer kept")
        status, progress, result, error = row
        return JobState(
            job_id, JobStatus(status), progress, result, JobError.model_validate_json(error) if error else None
        )

    def cancel(self, job_id: str) -> None:
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET status = 'cancelled', finished = ? WHERE id = ? AND status IN ('queued', 'running')",
                (time.time(), job_id),
            )
            db.execute("DELETE FROM line WHERE id = ?", (job_id,))

    def depth(self) -> int:
        with self._lock:
            (count,) = self._db.execute("SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')").fetchone()
        return int(count)

    def workers(self) -> list[WorkerRecord]:
        with self._lock:
            rows = self._db.execute("SELECT owner, digests FROM workers").fetchall()
        return [WorkerRecord(owner, dict(pair.split("=") for pair in digests.split())) for owner, digests in rows]

    # -- the worker's side ---------------------------------------------------------------------------

    def announce(self, owner: str, digests: dict[str, str]) -> None:
        listed = " ".join(f"{name}={digest}" for name, digest in digests.items())
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO workers VALUES (?, ?)", (owner, listed))

    def take(self, owner: str, limit: int) -> list[Lease]:
        with self._lock:  # a look without a write lock, so an idle worker disturbs nobody
            idle = self._db.execute("SELECT 1 FROM line LIMIT 1").fetchone() is None
            expired = self._db.execute(
                "SELECT 1 FROM jobs WHERE status = 'running' AND lease_until < ? LIMIT 1", (time.time(),)
            ).fetchone()
        if idle and not expired:
            return []
        with self._transaction() as db:
            _hand_back(db, "lease_until < ?", time.time())
            rows = db.execute(
                "SELECT id FROM line WHERE lane = (SELECT lane FROM line ORDER BY place LIMIT 1)"
                " ORDER BY place LIMIT ?",
                (limit,),
            ).fetchall()
            return [self._lease(db, owner, job_id) for (job_id,) in rows]

    def _lease(self, db: sqlite3.Connection, owner: str, job_id: str) -> Lease:
        db.execute("DELETE FROM line WHERE id = ?", (job_id,))
        body, fence = db.execute(
            "UPDATE jobs SET status = 'running', owner = ?, lease_until = ?, deliveries = deliveries + 1"
            " WHERE id = ? RETURNING body, deliveries",
            (owner, time.time() + self._lease_s, job_id),
        ).fetchone()
        return Lease(ExplainJob.model_validate_json(body), fence)

    def finish(self, owner: str, lease: Lease, result: bytes | None, error: JobError | None) -> bool:
        status = JobStatus.failed if error else JobStatus.done
        with self._transaction() as db:
            done = db.execute(
                "UPDATE jobs SET status = ?, result = ?, error = ?, finished = ?, progress = 1"
                " WHERE id = ? AND status = 'running' AND owner = ? AND deliveries = ?",
                (
                    status, result, error.model_dump_json() if error else None, time.time(),
                    lease.job.id, owner, lease.fence,
                ),
            )  # fmt: skip
            return done.rowcount == 1

    def report(self, owner: str, leases: Sequence[Lease], progress: float) -> list[bool]:
        until = time.time() + self._lease_s
        with self._transaction() as db:
            return [
                db.execute(
                    "UPDATE jobs SET progress = ?, lease_until = ?"
                    " WHERE id = ? AND status = 'running' AND owner = ? AND deliveries = ?",
                    (progress, until, lease.job.id, owner, lease.fence),
                ).rowcount
                == 1
                for lease in leases
            ]

    def renew(self, owner: str) -> None:
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET lease_until = ? WHERE owner = ? AND status = 'running'",
                (time.time() + self._lease_s, owner),
            )

    def release(self, owner: str) -> None:
        """Hand back all that a worker holds, because it stops or is dead."""
        with self._transaction() as db:
            _hand_back(db, "owner = ?", owner)
            db.execute("DELETE FROM workers WHERE owner = ?", (owner,))

    def release_all(self) -> None:
        """Hand back what any worker holds: called when it is known that none is running."""
        with self._transaction() as db:
            _hand_back(db, "1 = ?", 1)
            db.execute("DELETE FROM workers")

    def close(self) -> None:
        with self._lock:
            self._db.close()


def _hand_back(db: sqlite3.Connection, which: str, value: float | str) -> None:
    """Put running jobs back in line, oldest first; those delivered too often have failed."""
    lost = job_error("worker_lost", f"the worker was lost {MAX_DELIVERIES} times while it computed this explanation")
    where = f"status = 'running' AND {which}"
    db.execute(
        f"UPDATE jobs SET status = 'failed', error = ?, finished = ? WHERE {where} AND deliveries >= {MAX_DELIVERIES}",  # noqa: S608
        (lost.model_dump_json(), time.time(), value),
    )
    db.execute(f"INSERT OR IGNORE INTO line (id, lane) SELECT id, lane FROM jobs WHERE {where}", (value,))  # noqa: S608
    db.execute(f"UPDATE jobs SET status = 'queued', owner = NULL WHERE {where}", (value,))  # noqa: S608
