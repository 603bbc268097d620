"""Ids of explanations that tell their age and their owner.

An API recognises its caller's recent ids even if nothing is stored under them: an answer that went directly to its
caller is never stored, and a result is dropped when newer results need its place.
"""

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from whyserve.settings import Settings

log = logging.getLogger("whyserve.api")

KEY_FILE = "ids.key"
# An id is the time in seconds, a random part, and the seal of both and of the caller, in hexadecimal digits.
TIME_BYTES, RANDOM_BYTES, SEAL_BYTES = 5, 8, 8


class Ids:
    """secret: the same for all APIs of one queue. keep_s: how long an id is recognised."""

    def __init__(self, secret: bytes, keep_s: float) -> None:
        self._secret, self._keep_s = secret, keep_s

    def new(self, caller: str | None) -> str:
        start = int(time.time()).to_bytes(TIME_BYTES) + os.urandom(RANDOM_BYTES)
        return (start + self._seal(start, caller)).hex()

    def is_recent(self, job_id: str, caller: str | None) -> bool:
        """Whether the caller got this id within the last `keep_s` seconds."""
        try:
            content = bytes.fromhex(job_id)
        except ValueError:
            return False
        start, seal = content[:-SEAL_BYTES], content[-SEAL_BYTES:]
        is_own = hmac.compare_digest(seal, self._seal(start, caller))
        return is_own and time.time() - int.from_bytes(start[:TIME_BYTES]) <= self._keep_s

    def _seal(self, start: bytes, caller: str | None) -> bytes:
        # Every explanation has an id, and keyed BLAKE2 takes a third of the time of HMAC with SHA-256.
        return hashlib.blake2b(start + repr(caller).encode(), key=self._secret, digest_size=SEAL_BYTES).digest()


def read_secret(settings: Settings) -> bytes:
    """The secret of the ids: a file of the state folder. With Redis, it is derived from the password of Redis, because
    the APIs share no folder.
    """
    if settings.redis_url is not None:
        password = urlsplit(settings.redis_url).password or ""
        return hashlib.sha256(f"whyserve ids {password}".encode()).digest()
    file, fresh = settings.state / KEY_FILE, secrets.token_bytes(32)
    try:
        if not file.exists():
            _create(file, fresh)
        return file.read_bytes()
    except OSError as error:  # such as a full disk: predictions need no file
        log.error("%s: cannot be used: %s; ids of this process are unknown to all others", file, error.strerror)
        return fresh


def _create(file: Path, content: bytes) -> None:
    """Create the file at once with its content. If another process created it first, its file stays."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=file.parent) as new:
        new.write(content)
        new.flush()
        with contextlib.suppress(FileExistsError):
            os.link(new.name, file)
