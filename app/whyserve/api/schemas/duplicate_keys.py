"""Keys that stand twice in one object: JSON parsers differ in which they take, and so none is taken here."""

import json
from typing import Any

from whyserve.errors import DuplicateKey


class _Object(dict[str, Any]):
    doubled: str | None = None


def check_duplicate_keys(body: bytes, request: dict[str, Any]) -> None:
    """request: what the schema found in the body. Raises DuplicateKey, which names the place."""
    rows = request["instances"]
    # A colon for each key that is there, and else only inside strings: as many colons as keys, and none is doubled.
    # Rows of one model have the same keys, and nothing inside them has any.
    if body.count(b":") == len(request) + len(rows) * len(rows[0]):
        return
    whole = json.loads(body, object_pairs_hook=_object)
    if whole.doubled is not None:
        raise DuplicateKey(f'"{whole.doubled}" stands twice', field=whole.doubled)
    for number, row in enumerate(whole["instances"]):
        if row.doubled is not None:
            raise DuplicateKey(f'instances[{number}]: "{row.doubled}" stands twice', instance=number, field=row.doubled)
    background = whole.get("background")
    for number, row in enumerate(background if isinstance(background, list) else ()):
        if row.doubled is not None:
            field = f"background[{number}].{row.doubled}"
            raise DuplicateKey(f'"{field}" stands twice', field=field)


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        made.doubled = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return made
