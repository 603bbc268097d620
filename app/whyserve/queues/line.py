"""The order of queued jobs in the embedded queue: SQL that several of the store's transactions share."""

import sqlite3
import time
from collections.abc import Sequence

from whyserve.jobs import HEAVY_KEY, ExplainJob
from whyserve.queue_protocols import MAX_DELIVERIES, OVERDUE_S, TIMED_OUT, WORKER_LOST

# The place of the job whose turn it is now, and one behind all jobs that wait.
_NOW = "coalesce((SELECT min(place) FROM jobs WHERE status = 'queued'), (SELECT max(place) FROM turns), 0)"
_LAST = f"coalesce((SELECT max(place) + 0.001 FROM jobs WHERE status = 'queued'), {_NOW})"  # noqa: S608


def next_place(db: sqlite3.Connection, job: ExplainJob) -> float:
    """The place of a new job in the line. Its caller's next job gets a place behind it."""
    caller = job.caller or ""
    (place,) = db.execute(
        f"SELECT max({_NOW}, coalesce((SELECT place FROM turns WHERE caller = ?), 0))",  # noqa: S608
        (caller,),
    ).fetchone()
    db.execute("INSERT OR REPLACE INTO turns VALUES (?, ?)", (caller, place + job.work))
    return float(place)


def next_jobs(db: sqlite3.Connection, digests: Sequence[str], limit: int, beside: bool) -> list[str]:
    """The ids of the first job of these manifests and of up to `limit` − 1 others with its batch key.

    beside: as in JobSource.take.
    A job that was returned by a lost worker comes alone: if it ends the next worker too, no other job is lost with it.
    """
    marks = ",".join("?" * len(digests))
    excluded = f"AND NOT deliveries AND batch_key NOT LIKE '%{HEAVY_KEY}'" if beside else ""
    first = db.execute(
        f"SELECT id, batch_key, deliveries FROM jobs WHERE status = 'queued' AND digest IN ({marks}) {excluded}"  # noqa: S608
        " ORDER BY place, rowid LIMIT 1",
        tuple(digests),
    ).fetchone()
    if first is None or first[2]:
        return [first[0]] if first else []
    rows = db.execute(
        "SELECT id FROM jobs WHERE status = 'queued' AND batch_key = ? AND NOT deliveries"
        " ORDER BY place, rowid LIMIT ?",
        (first[1], limit),
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
    db.execute(f"UPDATE jobs SET status = 'queued', owner = NULL, place = {_LAST} WHERE {where}", (value,))  # noqa: S608


def expire(db: sqlite3.Connection) -> None:
    """Fail queued jobs past their deadline, and running jobs OVERDUE_S past it."""
    now = time.time()
    db.execute(
        "UPDATE jobs SET status = 'failed', error = ?, finished = ?"
        " WHERE finished IS NULL AND deadline < ? AND (status = 'queued' OR deadline < ?)",
        (TIMED_OUT.model_dump_json(), now, now, now - OVERDUE_S),
    )
