"""API keys: who may ask, and for what. Only their SHA-256 digests are ever kept.

A line a key: NAME SCOPES DIGEST, scopes with commas between them. Several keys may have one name: a new one and the
one that it will replace.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from whyserve.errors import ConfigurationError

SCOPES = ("predict", "explain", "admin")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
DIGEST = re.compile(r"[0-9a-f]{64}")
PREFIX = "whyserve_"  # so that scanners of repositories know what they have found


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    scopes: frozenset[str]
    digest: bytes


def fresh(name: str, scopes: Sequence[str]) -> tuple[str, str]:
    """A key of 256 random bits, and its line. Raises ConfigurationError for a wrong name or scope."""
    secret = PREFIX + secrets.token_urlsafe(32)
    line = f"{name} {','.join(scopes)} {digest(secret.encode()).hex()}"
    read_line(line, "the key")
    return secret, line


def digest(secret: bytes) -> bytes:
    # One round is enough: a key is random, and there is nothing to guess faster.
    return hashlib.sha256(secret).digest()


def read_keys(text: str, source: str) -> tuple[Key, ...]:
    """The keys of a file or a setting; ; stands for a line's end, # begins a comment. Raises ConfigurationError."""
    lines = [line.partition("#")[0].strip() for line in re.split(r"[\n;]", text)]
    keys = tuple(read_line(line, f"{source}, line {number}") for number, line in enumerate(lines, 1) if line)
    if not keys:
        raise ConfigurationError(f"{source}: holds no key; make one with `whyserve key NAME`")
    return keys


def read_line(line: str, place: str) -> Key:
    """place: where the line stands, for the error; the line itself, which may hold a secret, is never shown."""
    match line.split():
        case [name, scopes, digits] if NAME.fullmatch(name) and DIGEST.fullmatch(digits.lower()):
            given = frozenset(scopes.split(","))
            if given <= set(SCOPES):
                return Key(name, given, bytes.fromhex(digits))
            raise ConfigurationError(f"{place}: the scopes are {', '.join(SCOPES)}, with commas and no blanks")
    raise ConfigurationError(f"{place}: must be NAME SCOPES SHA256, as `whyserve key NAME` prints it")


def find(keys: Sequence[Key], secret: bytes) -> Key | None:
    """The key that this is. Every key is compared, whichever it is, so that the time tells nothing."""
    wanted, found = digest(secret), None
    for key in keys:
        if hmac.compare_digest(key.digest, wanted):
            found = key
    return found
