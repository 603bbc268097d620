"""The order of queued jobs in the embedded queue: SQL that several of the store's transactions share."""

import sqlite3
import time
from collections.abc import Sequence

from whyserve.jobs import SUMMARY_KEY
from whyserve.queue_protocols import MAX_DELIVERIES, OVERDUE_S, TIMED_OUT, WORKER_LOST


def next_jobs(db: sqlite3.Connection, digests: Sequence[str], limit: int, summaries: bool) -> list[str]:
    """The ids of the oldest job of these manifests and of up to `limit` − 1 others with its batch key.

    A job that was returned by a lost worker comes alone: if it ends the next worker too, no other job is lost with it.
    """
    marks = ",".join("?" * len(digests))
    excluded = "" if summaries else f"AND batch_key NOT LIKE '%{SUMMARY_KEY}'"
    first = db.execute(
        f"SELECT id, batch_key, tried FROM line WHERE digest IN ({marks}) {excluded} ORDER BY place LIMIT 1",  # noqa: S608
        tuple(digests),
    ).fetchone()
    if first is None or first[2]:
        return [first[0]] if first else []
    rows = db.execute("SELECT id FROM line WHERE batch_key = ? AND NOT tried ORDER BY place LIMIT ?", (first[1], limit))
    return [job_id for (job_id,) in rows]


def hand_back(db: sqlite3.Connection, condition: str, value: float | str) -> None:
    """Queue running jobs again, behind the jobs that wait. Jobs with MAX_DELIVERIES deliveries fail instead.

    condition: SQL with one parameter, `value`.
    """
    where = f"status = 'running' AND {condition}"
    db.execute(
        f"UPDATE jobs SET status = 'failed', error = ?, finished = ? WHERE {where} AND deliveries >= {MAX_DELIVERIES}",  # noqa: S608
        (WORKER_LOST.model_dump_json(), time.time(), value),
    )
    db.execute(
        "INSERT OR IGNORE INTO line (id, batch_key, digest, tried)"  # noqa: S608
        f" SELECT id, batch_key, digest, 1 FROM jobs WHERE {where}",
        (value,),
    )
    db.execute(f"UPDATE jobs SET status = 'queued', owner = NULL WHERE {where}", (value,))  # noqa: S608


def expire(db: sqlite3.Connection) -> None:
    """Fail queued jobs past their deadline, and running jobs OVERDUE_S past it."""
    now = time.time()
    late = db.execute(
        "SELECT id FROM jobs WHERE finished IS NULL AND deadline < ? AND (status = 'queued' OR deadline < ?)",
        (now, now - OVERDUE_S),
    ).fetchall()
    for (job_id,) in late:
        db.execute(
            "UPDATE jobs SET status = 'failed', error = ?, finished = ? WHERE id = ?",
            (TIMED_OUT.model_dump_json(), now, job_id),
        )
        db.execute("DELETE FROM line WHERE id = ?", (job_id,))
