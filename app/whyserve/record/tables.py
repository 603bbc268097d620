"""All decisions in one file, Parquet or JSON lines: one line per record."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whyserve.errors import ConfigurationError
from whyserve.record.content import Content, as_json
from whyserve.record.store import Store

COLUMNS = ("id", "time", "kind", "model", "version", "manifest", "program", "caller", "request_id", "path", "rows",
           "about", "writer", "seq", "previous", "hash", "asked", "sent", "answer", "explanation")  # fmt: skip
WHOLE = {"time", "version", "rows", "seq"}  # the columns of integers
PART = 1000


def export(store: Store, path: Path) -> int:
    """Write all decisions. Text of other bytes is base64. Returns how many. Raises ConfigurationError."""
    if path.suffix not in (".parquet", ".jsonl"):
        raise ConfigurationError(f"{path.name}: unknown format; the name must end in .parquet or .jsonl")
    try:
        return (_parquet if path.suffix == ".parquet" else _json_lines)(store, path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror or error}") from error


def _lines(store: Store) -> Iterator[dict[str, Any]]:
    for record in store.every("prediction", "explanation", "counterfactual"):
        content = Content() if record.content is None else Content.unpack(record.content)
        head = json.loads(record.head)
        asked = json.dumps(head["asked"]) if "asked" in head else None
        parts = {"sent": content.body, "answer": content.answer, "explanation": content.explanation}
        texts = {name: _text(part) for name, part in parts.items()}
        line = {**head, "hash": record.hash, **texts, "asked": asked}
        yield {name: line.get(name) for name in COLUMNS}


def _text(block: bytes) -> str | None:
    if not block:
        return None
    return base64.b64encode(block).decode() if as_json(block) is None else block.decode()


def _json_lines(store: Store, path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for line in _lines(store):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    return count


def _parquet(store: Store, path: Path) -> int:
    try:
        import pyarrow as pa  # noqa: PLC0415  # an extra of the worker
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(f"{path.name}: Parquet needs pyarrow; install it, or write .jsonl") from error
    schema = pa.schema([(name, pa.int64() if name in WHOLE else pa.string()) for name in COLUMNS])
    count, part = 0, []
    with pq.ParquetWriter(path, schema) as file:
        for line in _lines(store):
            part.append(line)
            if len(part) == PART:
                file.write_table(pa.Table.from_pylist(part, schema))
                count, part = count + len(part), []
        file.write_table(pa.Table.from_pylist(part, schema))
    return count + len(part)
