"""Write a model folder and export it, both or neither. Python's standard library has no writer for TOML."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from whyserve.export.build import export_one
from whyserve.model.manifest import Manifest
from whyserve.model.rows import Arrays, as_row
from whyserve.model.spec import EXAMPLE_FILE, NETWORK_FILES, TOKENIZER_FILE, ModelSpec
from whyserve.model.text import text_readers

# Files of an older version of a model that must not stay beside the new ones.
REPLACED = {TOKENIZER_FILE}.union(*NETWORK_FILES.values())


def write_folder(
    folder: Path,
    spec: ModelSpec,
    files: dict[str, bytes],
    arrays: Arrays,
    example_texts: dict[str, str],
    *,
    artifacts: Path,
    budgets_ms: tuple[float, float],
) -> Manifest:
    """Write `files`, the background and an example to `folder`, and export it.

    example_texts: texts of the example by input. Its other values are the first row of the background.
    The export reads a folder beside the real one. Its files are moved to the real folder only if the export succeeds.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".package-") as scratch:
        new = Path(scratch, folder.name)
        new.mkdir()
        for name, content in files.items():
            (new / name).write_bytes(content)
        np.savez(new / spec.explain.background, **arrays)  # type: ignore[arg-type]  # of numpy's stub
        row = as_row(spec, arrays, 0, text_readers(spec, lambda name: files[name]))
        example = {"model": spec.name, "instances": [{**row, **example_texts}]}
        (new / EXAMPLE_FILE).write_text(json.dumps(example, ensure_ascii=False) + "\n", encoding="utf-8")
        manifest = export_one(new, artifacts, *budgets_ms)
        folder.mkdir(exist_ok=True)
        for path in new.iterdir():
            os.replace(path, folder / path.name)
        for old in REPLACED - set(files):
            (folder / old).unlink(missing_ok=True)
    return manifest


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
