"""Who a request is, across processes: a request id of ours or the caller's, and W3C trace context."""

import random
import re
import secrets

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
TRACEPARENT = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
# An id has to be a new one, and is no secret: asking the system for each would cost a call of it.
_NEW = random.Random(secrets.randbits(256))  # noqa: S311


def request_id_from(given: bytes) -> str:
    """The caller's, where it is one that can stand in a log and a header; else one of 128 random bits."""
    return given.decode() if given and REQUEST_ID.fullmatch(given) else f"{_NEW.getrandbits(128):032x}"


def child_of(traceparent: bytes) -> str | None:
    """The traceparent to hand on: the caller's trace with a span of ours; None where the header is not one."""
    if match := TRACEPARENT.fullmatch(traceparent):
        return f"00-{match[1].decode()}-{secrets.token_hex(8)}-{match[2].decode()}"
    return None
