"""The order of queued jobs in the embedded queue: SQL that several of the store's transactions share."""

import sqlite3
import time
from collections.abc import Sequence

from whyserve.jobs import HEAVY_KEY, ExplainJob
from whyserve.queue_protocols import MAX_DELIVERIES, OVERDUE_S, TIMED_OUT, WORKER_LOST

# The place of the job whose turn it is now.
_NOW = "coalesce((SELECT min(place) FROM line), (SELECT max(place) FROM turns), 0)"


def join(db: sqlite3.Connection, job: ExplainJob) -> None:
    """Give a job its place in the line."""
    caller = job.caller or ""
    (place,) = db.execute(
        f"SELECT max({_NOW}, coalesce((SELECT place FROM turns WHERE caller = ?), 0))",  # noqa: S608
        (caller,),
    ).fetchone()
    db.execute("INSERT OR REPLACE INTO turns VALUES (?, ?)", (caller, place + job.work))
    db.execute(
        "INSERT INTO line (id, batch_key, digest, place) VALUES (?, ?, ?, ?)",
        (job.id, job.batch_key, job.digest, place),
    )


def next_jobs(db: sqlite3.Connection, digests: Sequence[str], limit: int, beside: bool) -> list[str]:
    """The ids of the first job of these manifests and of up to `limit` − 1 others with its batch key.

    beside: as in JobSource.take.
    A job that was returned by a lost worker comes alone: if it ends the next worker too, no other job is lost with it.
    """
    marks = ",".join("?" * len(digests))
    excluded = f"AND NOT tried AND batch_key NOT LIKE '%{HEAVY_KEY}'" if beside else ""
    first = db.execute(
        f"SELECT id, batch_key, tried FROM line WHERE digest IN ({marks}) {excluded} ORDER BY place, number LIMIT 1",  # noqa: S608
        tuple(digests),
    ).fetchone()
    if first is None or first[2]:
        return [first[0]] if first else []
    rows = db.execute(
        "SELECT id FROM line WHERE batch_key = ? AND NOT tried ORDER BY place, number LIMIT ?", (first[1], limit)
    )
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
        "INSERT OR IGNORE INTO line (id, batch_key, digest, place, tried)"  # noqa: S608
        f" SELECT id, batch_key, digest, coalesce((SELECT max(place) FROM line), {_NOW}), 1 FROM jobs WHERE {where}",
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
