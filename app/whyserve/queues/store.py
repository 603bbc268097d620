"""The embedded queue's transactions, on one SQLite file that API, worker and supervisor share.

Every method is one transaction. Methods may be called from any thread.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from whyserve.errors import Unavailable, WhyserveError, first_line
from whyserve.jobs import ExplainJob, JobError, JobMetrics, JobState, JobStatus, Lease, WorkerRecord
from whyserve.queue_protocols import ALIVE_LEASES
from whyserve.queues.line import expire, hand_back, next_jobs
from whyserve.queues.queue_file import QueueFile, is_damage
from whyserve.queues.refusals import explanation_lost, key_reused, queue_full, unknown_explanation


class Store:
    """Every method raises Unavailable if SQLite cannot serve it now. A damaged file is replaced by a new one."""

    def __init__(self, state: Path, *, depth: int, keep_s: float, lease_s: float) -> None:
        """state: the queue's folder. Raises ConfigurationError."""
        self._depth, self._keep_s, self._lease_s = depth, keep_s, lease_s
        self._lock, self._file = threading.Lock(), QueueFile(state)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._file.connection()
            except (sqlite3.Error, OSError, ValidationError) as error:
                if is_damage(error):
                    self._file.replace(error)
                raise Unavailable(
                    f"the queue cannot be used now: {first_line(error)}; try again later", retry_after_s=1
                ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db:
            # IMMEDIATE takes the write lock now: a read lock cannot always be upgraded later.
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # on a full disk, SQLite has rolled back already
                    with suppress(sqlite3.Error):
                        db.execute("ROLLBACK")
                raise

    # -- the API's side ----------------------------------------------------------------------------

    def submit(self, job: ExplainJob) -> str:
        body = job.model_dump_json()
        with self._transaction() as db:
            return self._submit(db, job, body)

    def _submit(self, db: sqlite3.Connection, job: ExplainJob, body: str) -> str:
        for table in ("jobs", "job_metrics"):
            db.execute(f"DELETE FROM {table} WHERE finished < ?", (time.time() - self._keep_s,))  # noqa: S608
        expire(db)
        known = db.execute(
            "SELECT id, request_hash FROM jobs WHERE idempotency_key = ?", (job.idempotency_key,)
        ).fetchone()
        if known:
            if known[1] != job.request_hash:
                raise key_reused()
            return str(known[0])
        (waiting,) = db.execute("SELECT count(*) FROM jobs WHERE finished IS NULL").fetchone()
        if waiting >= self._depth:
            raise queue_full(waiting)
        db.execute(
            "INSERT INTO jobs (id, batch_key, digest, body, caller, idempotency_key, request_hash, deadline)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                job.id,
                job.batch_key,
                job.digest,
                body,
                job.caller,
                job.idempotency_key,
                job.request_hash,
                job.deadline,
            ),
        )
        db.execute("INSERT INTO line (id, batch_key, digest) VALUES (?, ?, ?)", (job.id, job.batch_key, job.digest))
        return job.id

    def state(self, job_id: str) -> JobState:
        with self._reading() as db:
            row = db.execute(
                "SELECT status, progress, result, error, caller, standard_error, deadline FROM jobs WHERE id = ?",
                (job_id,),
            ).fetchone()
        if row is None:
            raise self._unknown()
        status, progress, result, error, caller, standard_error, deadline = row
        if status == JobStatus.queued and deadline is not None and deadline < time.time():
            with self._transaction() as db:
                expire(db)
            return self.state(job_id)
        why = JobError.model_validate_json(error) if error else None
        return JobState(job_id, JobStatus(status), progress, result, why, caller, standard_error)

    def job(self, job_id: str) -> ExplainJob:
        with self._reading() as db:
            row = db.execute("SELECT body FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is None:
                raise self._unknown()
            return ExplainJob.model_validate_json(row[0])

    def _unknown(self) -> WhyserveError:
        return explanation_lost() if self._file.lost_within(self._keep_s) else unknown_explanation()

    def cancel(self, job_id: str) -> None:
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET status = 'cancelled', finished = ? WHERE id = ? AND finished IS NULL",
                (time.time(), job_id),
            )
            db.execute("DELETE FROM line WHERE id = ?", (job_id,))

    def depth(self) -> int:
        with self._reading() as db:
            (count,) = db.execute("SELECT count(*) FROM jobs WHERE finished IS NULL").fetchone()
        return int(count)

    def workers(self) -> list[WorkerRecord]:
        with self._reading() as db:
            rows = db.execute("SELECT owner, digests FROM workers WHERE alive_until > ?", (time.time(),)).fetchall()
        return [WorkerRecord(owner, frozenset(digests.split())) for owner, digests in rows]

    def job_metrics(self) -> list[JobMetrics]:
        with self._reading() as db:  # first without a write lock, as in take()
            if not db.execute("SELECT 1 FROM job_metrics LIMIT 1").fetchone():
                return []
        with self._transaction() as db:
            return [
                JobMetrics.model_validate_json(body) for (body,) in db.execute("DELETE FROM job_metrics RETURNING body")
            ]

    # -- the worker's side ---------------------------------------------------------------------------

    def announce(self, owner: str, digests: Sequence[str]) -> None:
        until = time.time() + ALIVE_LEASES * self._lease_s
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO workers VALUES (?, ?, ?)", (owner, " ".join(digests), until))

    def take(self, owner: str, digests: Sequence[str], limit: int, summaries: bool = True) -> list[Lease]:
        with self._reading() as db:  # first without a write lock: idle workers must not slow others down
            idle = not next_jobs(db, digests, 1, summaries)
            expired = db.execute(
                "SELECT 1 FROM jobs WHERE status = 'running' AND lease_until < ? LIMIT 1", (time.time(),)
            ).fetchone()
        if idle and not expired:
            return []
        with self._transaction() as db:
            hand_back(db, "lease_until < ?", time.time())
            expire(db)
            return [self._lease(db, owner, job_id) for job_id in next_jobs(db, digests, limit, summaries)]

    def adopt(self, owner: str, job: ExplainJob) -> Lease:
        body = job.model_dump_json()
        with self._transaction() as db:
            self._submit(db, job, body)
            return self._lease(db, owner, job.id)

    def _lease(self, db: sqlite3.Connection, owner: str, job_id: str) -> Lease:
        db.execute("DELETE FROM line WHERE id = ?", (job_id,))
        body, fence = db.execute(
            "UPDATE jobs SET status = 'running', owner = ?, lease_until = ?, deliveries = deliveries + 1"
            " WHERE id = ? RETURNING body, deliveries",
            (owner, time.time() + self._lease_s, job_id),
        ).fetchone()
        return Lease(ExplainJob.model_validate_json(body), fence)

    def finish(
        self, owner: str, lease: Lease, result: bytes | None, error: JobError | None, metrics: JobMetrics | None = None
    ) -> bool:
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
            if metrics and done.rowcount:
                db.execute("INSERT INTO job_metrics VALUES (?, ?)", (time.time(), metrics.model_dump_json()))
            return done.rowcount == 1

    def report(self, owner: str, leases: Sequence[Lease], progress: float, error: float | None) -> list[bool]:
        until = time.time() + self._lease_s
        with self._transaction() as db:
            return [
                db.execute(
                    "UPDATE jobs SET progress = ?, standard_error = ?, lease_until = ?"
                    " WHERE id = ? AND status = 'running' AND owner = ? AND deliveries = ?",
                    (progress, error, until, lease.job.id, owner, lease.fence),
                ).rowcount
                == 1
                for lease in leases
            ]

    def renew(self, owner: str) -> bool:
        """Renew the worker's leases and its registration. Returns whether it is registered."""
        now = time.time()
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET lease_until = ? WHERE owner = ? AND status = 'running'", (now + self._lease_s, owner)
            )
            known = db.execute(
                "UPDATE workers SET alive_until = ? WHERE owner = ?", (now + ALIVE_LEASES * self._lease_s, owner)
            )
            return known.rowcount == 1

    # -- the supervisor's side -------------------------------------------------------------------------

    def release(self, owner: str) -> None:
        """Queue the jobs of one worker again, because the worker stops or has ended."""
        with self._transaction() as db:
            hand_back(db, "owner = ?", owner)
            db.execute("DELETE FROM workers WHERE owner = ?", (owner,))

    def release_all(self) -> None:
        """Queue the jobs of all workers again. Called only when no worker runs."""
        with self._transaction() as db:
            hand_back(db, "1 = ?", 1)
            db.execute("DELETE FROM workers")

    def close(self) -> None:
        with self._lock:
            self._file.close()
