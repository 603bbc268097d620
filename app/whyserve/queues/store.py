"""The embedded queue's transactions, on one SQLite file that API, worker and supervisor share.

Every method is one transaction. Methods may be called from any thread.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError

from whyserve.errors import Unavailable
from whyserve.jobs import ExplainJob, JobError, JobMetrics, JobState, JobStatus, Lease, WorkerRecord
from whyserve.queues.contents import REQUEST, RESULT, delete_old, get, give_back_space, make_room, put
from whyserve.queues.line import expire, hand_back, next_jobs, next_place
from whyserve.queues.queue_file import QueueFile, is_damage
from whyserve.queues.terms import Terms, key_reused, no_room, queue_full, too_large, unknown_explanation

# The largest value in an SQLite file.
MOST_BYTES = 1_000_000_000
# The condition that a lease is still valid; its parameters are the job's id, the owner and the fence.
HELD = "id = ? AND status = 'running' AND owner = ? AND deliveries = ?"


class Store:
    """Every method raises Unavailable if SQLite cannot serve it now, and AnswerTooLarge for a body that is too large
    for SQLite. A damaged file is replaced by a new one.

    calls_at_once: more calls at the same time would only wait for each other.
    """

    calls_at_once: ClassVar[int] = 1

    def __init__(self, state: Path, terms: Terms) -> None:
        """state: the queue's folder. Raises ConfigurationError."""
        self._terms = terms
        self._lock, self._file = threading.Lock(), QueueFile(state)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._file.connection()
            except (sqlite3.DataError, OverflowError) as error:
                raise too_large(MOST_BYTES, MOST_BYTES) from error
            except (sqlite3.Error, OSError, ValidationError) as error:
                if is_damage(error):
                    self._file.replace(error)
                # Other messages may hold a path, which a caller must not see.
                why = error if isinstance(error, sqlite3.Error) else type(error).__name__
                raise Unavailable(f"the queue cannot be used now: {why}; try again later", retry_after_s=1) from error

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
        body = job.model_dump_json().encode()
        with self._transaction() as db:
            return self._submit(db, job, body)

    def _submit(self, db: sqlite3.Connection, job: ExplainJob, body: bytes) -> str:
        delete_old(db, self._terms.keep_s)
        expire(db)
        known = db.execute(
            "SELECT id, request_hash FROM jobs WHERE idempotency_key = ?", (job.idempotency_key,)
        ).fetchone()
        if known:
            if known[1] != job.request_hash:
                raise key_reused()
            return str(known[0])
        waiting, expected = db.execute(
            "SELECT count(*), coalesce(sum(expected), 0) FROM jobs WHERE finished IS NULL"
        ).fetchone()
        if waiting >= self._terms.depth:
            raise queue_full(waiting)
        size, limit = len(body) + job.answer_bytes, self._terms.keep_bytes
        if size > limit:
            raise too_large(size, limit)
        # The answers of all open jobs have their room from the beginning.
        if not make_room(db, size + expected, limit):
            raise no_room(limit)
        db.execute(
            "INSERT INTO jobs (id, batch_key, digest, expected, caller, idempotency_key, request_hash, deadline, place)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                job.id, job.batch_key, job.digest, job.answer_bytes,
                job.caller, job.idempotency_key, job.request_hash, job.deadline, next_place(db, job),
            ),
        )  # fmt: skip
        put(db, job.id, REQUEST, body)
        return job.id

    def state(self, job_id: str) -> JobState:
        with self._reading() as db:
            row = db.execute(
                "SELECT status, progress, body, error, caller, standard_error, deadline"
                " FROM jobs LEFT JOIN contents ON job = id AND part = ? WHERE id = ?",
                (RESULT, job_id),
            ).fetchone()
        if row is None:
            raise unknown_explanation()
        status, progress, result, error, caller, standard_error, deadline = row
        if status == JobStatus.queued and deadline is not None and deadline < time.time():
            with self._transaction() as db:
                expire(db)
            return self.state(job_id)
        why = JobError.model_validate_json(error) if error else None
        return JobState(job_id, JobStatus(status), progress, result, why, caller, standard_error)

    def job(self, job_id: str) -> ExplainJob:
        with self._reading() as db:
            body = get(db, job_id, REQUEST)
            if body is None:
                raise unknown_explanation()
            return ExplainJob.model_validate_json(body)

    def cancel(self, job_id: str) -> None:
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET status = 'cancelled', finished = ? WHERE id = ? AND finished IS NULL",
                (time.time(), job_id),
            )

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
        until = time.time() + self._terms.alive_s
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO workers VALUES (?, ?, ?)", (owner, " ".join(digests), until))

    def take(self, owner: str, digests: Sequence[str], limit: int, beside: bool = False) -> list[Lease]:
        with self._reading() as db:  # first without a write lock: idle workers must not slow others down
            idle = not next_jobs(db, digests, 1, beside)
            expired = db.execute(
                "SELECT 1 FROM jobs WHERE status = 'running' AND lease_until < ? LIMIT 1", (time.time(),)
            ).fetchone()
        if idle and not expired:
            return []
        with self._transaction() as db:
            hand_back(db, "lease_until < ?", time.time())
            expire(db)
            return [self._lease(db, owner, job_id) for job_id in next_jobs(db, digests, limit, beside)]

    def adopt(self, owner: str, job: ExplainJob) -> Lease:
        body = job.model_dump_json().encode()
        with self._transaction() as db:
            self._submit(db, job, body)
            return self._lease(db, owner, job.id)

    def _lease(self, db: sqlite3.Connection, owner: str, job_id: str) -> Lease:
        (fence,) = db.execute(
            "UPDATE jobs SET status = 'running', owner = ?, lease_until = ?, deliveries = deliveries + 1"
            " WHERE id = ? RETURNING deliveries",
            (owner, time.time() + self._terms.lease_s, job_id),
        ).fetchone()
        request = get(db, job_id, REQUEST) or b""  # a job without its request is damage
        return Lease(ExplainJob.model_validate_json(request), fence)

    def finish(
        self, owner: str, lease: Lease, result: bytes | None, error: JobError | None, metrics: JobMetrics | None = None
    ) -> bool:
        status = JobStatus.failed if error else JobStatus.done
        held = (lease.job.id, owner, lease.fence)
        with self._transaction() as db:
            if not db.execute(f"SELECT 1 FROM jobs WHERE {HELD}", held).fetchone():  # noqa: S608
                return False
            # The job is not final yet: it is not one of those that are deleted.
            if result is not None:
                if not make_room(db, len(result), self._terms.keep_bytes):
                    raise too_large(len(result), self._terms.keep_bytes)
                put(db, lease.job.id, RESULT, result)
            db.execute(
                "UPDATE jobs SET status = ?, error = ?, finished = ?, progress = 1 WHERE id = ?",
                (status, error.model_dump_json() if error else None, time.time(), lease.job.id),
            )
            if metrics:
                db.execute("INSERT INTO job_metrics VALUES (?, ?)", (time.time(), metrics.model_dump_json()))
            return True

    def report(self, owner: str, leases: Sequence[Lease], progress: float, error: float | None) -> list[bool]:
        until = time.time() + self._terms.lease_s
        with self._transaction() as db:
            return [
                db.execute(
                    f"UPDATE jobs SET progress = ?, standard_error = ?, lease_until = ? WHERE {HELD}",  # noqa: S608
                    (progress, error, until, lease.job.id, owner, lease.fence),
                ).rowcount
                == 1
                for lease in leases
            ]

    def renew(self, owner: str) -> bool:
        """Renew the worker's leases and its registration. Returns whether it is registered."""
        now = time.time()
        with self._transaction() as db:
            delete_old(db, self._terms.keep_s)
            db.execute(
                "UPDATE jobs SET lease_until = ? WHERE owner = ? AND status = 'running'",
                (now + self._terms.lease_s, owner),
            )
            known = db.execute("UPDATE workers SET alive_until = ? WHERE owner = ?", (now + self._terms.alive_s, owner))
        with self._reading() as db:
            give_back_space(db)
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
