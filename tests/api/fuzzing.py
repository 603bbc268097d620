"""Shared by the fuzz tests: number of requests, seed, and text that no answer may contain."""

import os
import re
from collections.abc import Iterator
from typing import Any

import hypothesis
import hypothesis.strategies as st
from hypothesis import HealthCheck

from tests.conftest import ROOT

# 1 is all of them. A share is the same each time, so that it never turns red by chance.
SHARE = float(os.environ.get("WHYSERVE_FUZZ", "1"))
# Signs of internal details: code, stack frames, file names.
INSIDE = ("Traceback", 'File "', ".py", "site-packages", str(ROOT), "pydantic", "starlette", "onnxruntime::")
PATHS = re.compile(r"(?<![\w./])/(?:usr|home|root|tmp|var|opt|etc|proc|srv|work|app|dev|mnt)/\w")
# A field is named, and so is one that is none: but no more of it than this. Of a value, nothing is said.
LONGEST_NAME, LONG_VALUE = 100, 24


def bounded(examples: int, share: float = SHARE) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=max(1, round(examples * share)), deadline=None, database=None, derandomize=share < 1,
        print_blob=True, suppress_health_check=list(HealthCheck), phases=[hypothesis.Phase.generate],
    )  # fmt: skip


def strings(sent: Any, of_keys: bool = False) -> Iterator[tuple[str, bool]]:
    """Every string in it, and whether it is a key."""
    if isinstance(sent, bytes):
        sent = sent.decode("latin-1")
    if isinstance(sent, str):
        yield sent, of_keys
    elif isinstance(sent, dict):
        for key, value in sent.items():
            yield from strings(key, of_keys=True)
            yield from strings(value)
    elif isinstance(sent, list | tuple):
        for part in sent:
            yield from strings(part)


def gives_away(text: str, sent: Any) -> list[str]:
    """What an error says that it must not: of our inside, or the whole of something long that was sent."""
    found = [word for word in INSIDE if word in text] + PATHS.findall(text)
    for string, is_key in strings(sent):
        if len(string) > (LONGEST_NAME if is_key else LONG_VALUE) and string in text:
            found.append(string)
    return found


@st.composite
def with_something_long(draw: st.DrawFn, body: Any) -> Any:
    """The same with one value, or one key, in its place a long string."""
    long = draw(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=120, max_size=300))
    if not isinstance(body, dict | list) or not body:
        return long
    keys = list(body) if isinstance(body, dict) else list(range(len(body)))
    key = draw(st.sampled_from(keys))
    if isinstance(body, list):
        return [draw(with_something_long(part)) if place == key else part for place, part in enumerate(body)]
    if draw(st.booleans()):
        return {**body, key: draw(with_something_long(body[key]))}
    return {(long if name == key else name): value for name, value in body.items()}
