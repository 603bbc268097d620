"""A request's identity across processes: its request id, and its W3C trace context."""

import random
import re
import secrets

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
TRACEPARENT = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
# An id must be unique but is no secret, so it need not cost a system call.
_RANDOM = random.Random(secrets.randbits(256))  # noqa: S311


def request_id_from(given: bytes) -> str:
    """The caller's id if it is safe in a log and a header; otherwise 128 random bits."""
    return given.decode() if given and REQUEST_ID.fullmatch(given) else f"{_RANDOM.getrandbits(128):032x}"


def child_of(traceparent: bytes) -> str | None:
    """The traceparent to pass on: the caller's trace with a new span. None if the header is invalid."""
    if match := TRACEPARENT.fullmatch(traceparent):
        return f"00-{match[1].decode()}-{secrets.token_hex(8)}-{match[2].decode()}"
    return None
