"""API keys: names, scopes and SHA-256 digests. The keys themselves are never stored.

One key per line: NAME SCOPES DIGEST, with commas between the scopes. Several keys may have one name, so that a new key
can replace an old one without a break.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from whyserve.errors import ConfigurationError

SCOPES = ("predict", "explain", "record", "erase", "admin")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
DIGEST = re.compile(r"[0-9a-f]{64}")
PREFIX = "whyserve_"  # lets secret scanners recognise a key


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    scopes: frozenset[str]
    digest: bytes


def fresh(name: str, scopes: Sequence[str]) -> tuple[str, str]:
    """A key of 256 random bits, and its line. Raises ConfigurationError if the name or a scope is invalid."""
    secret = PREFIX + secrets.token_urlsafe(32)
    line = f"{name} {','.join(scopes)} {digest(secret.encode()).hex()}"
    read_line(line, "the key")
    return secret, line


def digest(secret: bytes) -> bytes:
    # One round is enough: a random key of 256 bits cannot be guessed, however fast the hash is.
    return hashlib.sha256(secret).digest()


def read_keys(text: str, source: str) -> tuple[Key, ...]:
    """The keys of a file or a setting. ";" also ends a line; "#" starts a comment. Raises ConfigurationError."""
    lines = [line.partition("#")[0].strip() for line in re.split(r"[\n;]", text)]
    keys = tuple(read_line(line, f"{source}, line {number}") for number, line in enumerate(lines, 1) if line)
    if not keys:
        raise ConfigurationError(f"{source}: contains no key; create one with `whyserve key NAME`")
    return keys


def read_line(line: str, place: str) -> Key:
    """place: of the line, for messages. The line itself may contain a secret, so no message shows it."""
    match line.split():
        case [name, scopes, digits] if NAME.fullmatch(name) and DIGEST.fullmatch(digits.lower()):
            named = frozenset(scopes.split(","))
            if named <= set(SCOPES):
                return Key(name, named, bytes.fromhex(digits))
            raise ConfigurationError(
                f"{place}: the scopes must be some of {', '.join(SCOPES)}, separated by commas without spaces"
            )
    raise ConfigurationError(f"{place}: must be NAME SCOPES SHA256; `whyserve key NAME` prints such a line")


def find(keys: Sequence[Key], secret: bytes) -> Key | None:
    """The key of a secret. All keys are compared, so that the time does not depend on which one matches."""
    sent, found = digest(secret), None
    for key in keys:
        if hmac.compare_digest(key.digest, sent):
            found = key
    return found
