"""Write model.toml. The standard library of Python has a reader for TOML but no writer."""

import json
from collections.abc import Mapping
from typing import Any


def to_toml(described: Mapping[str, Any]) -> str:
    """The text of model.toml: plain values first, then the inputs with one line per feature, then the other tables."""
    plain = {key: value for key, value in described.items() if not isinstance(value, Mapping) and key != "inputs"}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items()]
    for item in described["inputs"]:
        lines += ["", "[[inputs]]"]
        lines += [f"{key} = {_value(value)}" for key, value in item.items() if key != "features"]
        if features := item.get("features"):
            lines += ["features = [", *(f"    {_value(feature)}," for feature in features), "]"]
    for key, table in described.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{key}]", *(f"{name} = {_value(value)}" for name, value in table.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    # A JSON string is a TOML string, except that TOML needs the delete character escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
