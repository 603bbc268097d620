"""Request headers that change how a request is answered: Prefer (RFC 7240) and Idempotency-Key."""

import hashlib
import re

from starlette.datastructures import Headers

from whyserve.errors import InvalidInput

KEY = re.compile(r"[\x21-\x7e]{1,200}")


def prefers_async(headers: Headers) -> bool:
    return "respond-async" in _preferences(headers)


def wait_s(headers: Headers, limit_s: float) -> float:
    """Seconds to wait for a result before 202: the preferred time, at most `limit_s`.

    `respond-async` without `wait` means 0.
    """
    preferences = _preferences(headers)
    preferred = preferences.get("wait", "")
    if preferred.isdecimal() and len(preferred) < 10:
        return min(limit_s, float(preferred))
    return 0.0 if "respond-async" in preferences else limit_s


def _preferences(headers: Headers) -> dict[str, str]:
    """By name. If a name is repeated, the first one counts (RFC 7240)."""
    found: dict[str, str] = {}
    if "prefer" not in headers:
        return found
    for part in ",".join(headers.getlist("prefer")).split(","):
        name, _, value = part.split(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def idempotency_key(headers: Headers, caller: str | None) -> str | None:
    """A hash of the caller and the Idempotency-Key; None without the header. Raises InvalidInput."""
    given = headers.get("idempotency-key")
    if given is None:
        return None
    if not KEY.fullmatch(given):
        raise InvalidInput("Idempotency-Key: must be 1 to 200 visible ASCII characters", field="Idempotency-Key")
    return hashlib.sha256(f"{caller or ''}\n{given}".encode()).hexdigest()
