"""Opens the embedded queue's file, and sets aside a file that another version of Whyserve made."""

import fcntl
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from whyserve.errors import ConfigurationError
from whyserve.queues.store import Store
from whyserve.queues.terms import Terms
from whyserve.queues.version import VERSION

log = logging.getLogger("whyserve.queue")

QUEUE_FILE, LOCK_FILE = "queue.sqlite3", "queue.lock"
# How long an older program that is ending may keep its file locked.
LOCKED_S = 1.0


def open_store(state: Path, terms: Terms) -> Store:
    """Open the queue in the folder `state`, or create it. Raises ConfigurationError."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        # API and worker may start at the same moment: the second one finds the file that the first one created.
        with _locked(state / LOCK_FILE):
            _set_aside_other_version(state / QUEUE_FILE)
            return Store(state / QUEUE_FILE, terms)
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(
            f"WHYSERVE_STATE: cannot open a queue in {state}: {error}; make the folder writable, or set another one"
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _set_aside_other_version(path: Path) -> None:
    """Rename a file of another version. Raises ConfigurationError while another process has that file open."""
    if not path.exists():
        return
    with closing(sqlite3.connect(path, isolation_level=None, timeout=LOCKED_S)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version == VERSION or not tables:
            return
        unfinished = _unfinished(db)
        _leave_wal_mode(db, path, version)
    kept = _free_name(path, version)
    path.rename(kept)
    log.warning(
        f"{path}: made by another version of Whyserve (queue version {version}, this program needs {VERSION}); "
        f"renamed to {kept.name}. Unfinished explanations in it: {unfinished}; they will not be computed. "
        "Delete the file, or rename it back and start the other version to finish them."
    )


def _unfinished(db: sqlite3.Connection) -> int | str:
    try:
        (count,) = db.execute("SELECT count(*) FROM jobs WHERE finished IS NULL").fetchone()
    except sqlite3.OperationalError:  # tables of this version are different
        return "unknown"
    return int(count)


def _leave_wal_mode(db: sqlite3.Connection, path: Path, version: int) -> None:
    # This moves the -wal file's content into the file itself, and fails while another process has the file open.
    try:
        (mode,) = db.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.OperationalError:
        mode = "wal"
    if mode == "wal":
        raise ConfigurationError(
            f"WHYSERVE_STATE: {path} is in use by another version of Whyserve (queue version {version}, this program "
            f"needs {VERSION}); stop that version, or set another folder"
        )


def _free_name(path: Path, version: int) -> Path:
    name = f"{path.name}.version-{version}"
    kept, number = path.with_name(name), 2
    while kept.exists():
        kept, number = path.with_name(f"{name}.{number}"), number + 1
    return kept
