"""Requests and results in the embedded queue's file: each is stored once, and the file has a largest size."""

import sqlite3
import time

REQUEST, RESULT = "request", "result"
# Free pages that stay in the file for the next jobs, and the most that are cut off at once.
SPARE_PAGES, STEP_PAGES = 1024, 8192


def put(db: sqlite3.Connection, job_id: str, part: str, body: bytes) -> None:
    db.execute("INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", (job_id, part, body))


def get(db: sqlite3.Connection, job_id: str, part: str) -> bytes | None:
    found = db.execute("SELECT body FROM contents WHERE job = ? AND part = ?", (job_id, part)).fetchone()
    return found[0] if found else None


def make_room(db: sqlite3.Connection, size: int, limit: int) -> bool:
    """Delete the oldest final jobs until a file of `limit` bytes has room for `size` more. Returns whether it has."""
    while _used(db) + size > limit:
        oldest = db.execute("SELECT id FROM jobs WHERE finished IS NOT NULL ORDER BY finished LIMIT 1").fetchone()
        if oldest is None:
            return False
        db.execute("DELETE FROM jobs WHERE id = ?", oldest)
    return True


def delete_old(db: sqlite3.Connection, keep_s: float) -> None:
    """Delete final jobs, and metrics that no API has counted, after `keep_s` seconds."""
    for table in ("jobs", "job_metrics"):
        db.execute(f"DELETE FROM {table} WHERE finished < ?", (time.time() - keep_s,))  # noqa: S608


def give_back_space(db: sqlite3.Connection) -> None:
    """Cut free pages off the file. Called outside of a transaction."""
    spare = _pragma(db, "freelist_count") - SPARE_PAGES
    if spare > 0:
        # Each step of this statement frees one page, and `execute` takes one step only.
        db.executescript(f"PRAGMA incremental_vacuum({min(spare, STEP_PAGES)})")
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")  # until then the file keeps its size


def _used(db: sqlite3.Connection) -> int:
    """The bytes of the file without its free pages."""
    return (_pragma(db, "page_count") - _pragma(db, "freelist_count")) * _pragma(db, "page_size")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
