"""Refuse a JSON object that has one key twice: parsers differ in which of the two values they keep."""

import json
from collections import Counter
from typing import Any

from whyserve.errors import DuplicateKey
from whyserve.predict.plain_rows import has_single_keys


def duplicate_key(key: str, place: str = "", **details: Any) -> DuplicateKey:
    """place: the object that has the key, such as "instances[3]: "."""
    return DuplicateKey(f'{place}duplicate key "{key}"; send each key once', **{"field": key, **details})


class _Object(dict[str, Any]):
    duplicate: str | None = None


def check_duplicate_keys(body: bytes, request: dict[str, Any]) -> None:
    """request: the parsed body. Raises DuplicateKey."""
    if ("columns" in request or "instances" in request) and has_single_keys(body, request):
        return
    parsed = json.loads(body, object_pairs_hook=_object)
    if parsed.duplicate is not None:
        raise duplicate_key(parsed.duplicate)
    if "columns" in parsed and parsed["columns"].duplicate is not None:
        raise duplicate_key(parsed["columns"].duplicate, "columns: ")
    for number, row in enumerate(parsed.get("instances", ())):
        if row.duplicate is not None:
            raise duplicate_key(row.duplicate, f"instances[{number}]: ", instance=number)
    background = parsed.get("background")
    for number, row in enumerate(background if isinstance(background, list) else ()):
        if row.duplicate is not None:
            raise duplicate_key(f"background[{number}].{row.duplicate}")


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        made.duplicate = Counter(key for key, _ in pairs).most_common(1)[0][0]
    return made
