"""The embedded queue's file: opened, followed when it was replaced, and set aside when it cannot be used.

A file of another version of Whyserve, and a damaged file, are renamed, and a new file takes their place.
"""

import errno
import fcntl
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from whyserve.errors import ConfigurationError, first_line
from whyserve.queues.schema import prepare
from whyserve.queues.terms import VERSION

log = logging.getLogger("whyserve.queue")

QUEUE_FILE, LOCK_FILE = "queue.sqlite3", "queue.lock"
DAMAGED = f"{QUEUE_FILE}.damaged"
# SQLite keeps the newest transactions and an index of them in two more files.
ENDINGS = ("", "-wal", "-shm")
# How long an older program that is ending may keep its file locked.
LOCKED_S = 1.0
# How long a call waits for another process's transaction.
BUSY_S = 10.0
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class QueueFile:
    """The connection of one process to the queue in the folder `state`. One thread at a time uses it."""

    def __init__(self, state: Path) -> None:
        """Raises ConfigurationError if the queue cannot be opened. A full disk is no error: it may get space."""
        self._path, self._lock = state / QUEUE_FILE, state / LOCK_FILE
        self._db: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        try:
            state.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock.touch()
            self.connection()
        except (OSError, sqlite3.Error) as error:
            if not _is_full(error):
                raise ConfigurationError(
                    f"WHYSERVE_STATE: cannot open a queue in {state}: {error}; make the folder writable, or set"
                    " another one"
                ) from error
            log.error("%s: cannot be opened now: %s; explanations are not queued until there is space", state, error)

    def connection(self) -> sqlite3.Connection:
        """A connection to the file that has the queue's name now. Another process may have set the older file aside.

        Raises sqlite3.Error, OSError, and ConfigurationError while another version of Whyserve uses the file.
        """
        if self._db is None or _identity(self._path) != self._opened:
            self.close()
            # API and worker may start at the same moment: the second one finds the file that the first one created.
            with _locked(self._lock):
                try:
                    self._open()
                except sqlite3.Error as error:
                    if not is_damage(error):
                        raise
                    self._set_aside_damaged(error)
                    self._open()
        assert self._db is not None
        return self._db

    def _open(self) -> None:
        _set_aside_other_version(self._path)
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=BUSY_S)
        try:
            prepare(db)
        except BaseException:
            db.close()
            raise
        self._db, self._opened = db, _identity(self._path)

    def replace(self, error: Exception) -> None:
        """Set the damaged file aside, unless another process has done it. The next call opens a new one."""
        opened = self._opened
        self.close()
        with suppress(OSError), _locked(self._lock):
            if _identity(self._path) == opened:
                self._set_aside_damaged(error)

    def _set_aside_damaged(self, error: Exception) -> None:
        kept = _free_name(self._path.with_name(DAMAGED))
        for ending in ENDINGS:
            with suppress(FileNotFoundError):
                self._path.with_name(self._path.name + ending).rename(kept.with_name(kept.name + ending))
        with closing(sqlite3.connect(kept, timeout=LOCKED_S)) as db:
            log.error(
                f"{self._path}: the file is damaged ({first_line(error)}); renamed to {kept.name}, and a new queue was"
                f" created. Unfinished explanations that can still be read in it: {_unfinished(db)}. All explanations"
                " in it are lost to the service: their callers get status 410, and must ask again."
            )

    def close(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
        self._db = None


def is_damage(error: Exception) -> bool:
    """Whether the file's content is no queue any more. Other errors, such as a full disk, may pass."""
    if isinstance(error, ValidationError):  # a job that is not what was written
        return True
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    # A file that was truncated has no tables.
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or str(error).startswith("no such table")


def _is_full(error: OSError | sqlite3.Error) -> bool:
    if isinstance(error, OSError):
        return error.errno in FULL_DISK
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


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
    kept = _free_name(path.with_name(f"{path.name}.version-{version}"))
    path.rename(kept)
    log.warning(
        f"{path}: made by another version of Whyserve (queue version {version}, this program needs {VERSION}); "
        f"renamed to {kept.name}. Unfinished explanations in it: {unfinished}; they will not be computed. "
        "Delete the file, or rename it back and start the other version to finish them."
    )


def _unfinished(db: sqlite3.Connection) -> int:
    """The number of unfinished jobs that can be read in a file, which may be damaged."""
    count = 0
    with suppress(sqlite3.Error):
        for _ in db.execute("SELECT 1 FROM jobs NOT INDEXED WHERE finished IS NULL"):
            count += 1
    return count


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


def _free_name(wanted: Path) -> Path:
    kept, number = wanted, 2
    while kept.exists():
        kept, number = wanted.with_name(f"{wanted.name}.{number}"), number + 1
    return kept
