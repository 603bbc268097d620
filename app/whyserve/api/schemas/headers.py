"""What a caller wishes in headers: Prefer (RFC 7240) and Idempotency-Key."""

import hashlib
import re

from starlette.datastructures import Headers

from whyserve.errors import InvalidInput

KEY = re.compile(r"[\x21-\x7e]{1,200}")


def prefers_async(headers: Headers) -> bool:
    return "respond-async" in _preferences(headers)


def wait_s(headers: Headers, most: float) -> float:
    """How long to wait for a result before 202: what the caller prefers, and at most so long.

    `respond-async` alone waits for nothing, and with `wait` for that.
    """
    preferences = _preferences(headers)
    asked = preferences.get("wait", "")
    if asked.isdecimal() and len(asked) < 10:
        return min(most, float(asked))
    return 0.0 if "respond-async" in preferences else most


def _preferences(headers: Headers) -> dict[str, str]:
    """The first of each name counts, as RFC 7240 has it."""
    found: dict[str, str] = {}
    for part in ",".join(headers.getlist("prefer")).split(","):
        name, _, value = part.split(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def idempotency_key(headers: Headers, caller: str | None) -> str | None:
    """What makes two requests one: the caller's Idempotency-Key, and whose it is. Raises InvalidInput."""
    given = headers.get("idempotency-key")
    if given is None:
        return None
    if not KEY.fullmatch(given):
        raise InvalidInput("Idempotency-Key: must be 1 to 200 visible ASCII characters", field="Idempotency-Key")
    return hashlib.sha256(f"{caller or ''}\n{given}".encode()).hexdigest()
