"""The embedded queue's file: opened, followed when it was replaced, and set aside when it is damaged.

The version is a part of its name, so no program opens the file of another version.
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

QUEUE_FILE, LOCK_FILE = f"queue-{VERSION}.sqlite3", "queue.lock"
DAMAGED = f"{QUEUE_FILE}.damaged"
# SQLite keeps the newest transactions and an index of them in two more files.
ENDINGS = ("", "-wal", "-shm")
# How long the count of what is left in another file may wait for it.
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

        Raises sqlite3.Error and OSError.
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
        if not self._path.exists():
            _report_other_versions(self._path)
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
        log.error(
            f"{self._path}: the file is damaged ({first_line(error)}); renamed to {kept.name}, and a new queue was"
            f" created. Unfinished explanations that can still be read in it: {_unfinished(kept)}. All explanations"
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


def _report_other_versions(path: Path) -> None:
    """Log that another version of Whyserve has left its queue in this folder. Its files stay as they are."""
    for other in sorted(path.parent.glob("queue*.sqlite3")):
        log.warning(
            f"{other}: made by another version of Whyserve; this program uses {path.name}. Unfinished explanations in"
            f" it: {_unfinished(other)}; only that version computes them. Delete the file, or start that version."
        )


def _unfinished(path: Path) -> int:
    """The number of unfinished jobs that can be read in a file, which may be damaged."""
    count = 0
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=LOCKED_S)) as db:
        for _ in db.execute("SELECT 1 FROM jobs NOT INDEXED WHERE finished IS NULL"):
            count += 1
    return count


def _free_name(wanted: Path) -> Path:
    kept, number = wanted, 2
    while kept.exists():
        kept, number = wanted.with_name(f"{wanted.name}.{number}"), number + 1
    return kept
