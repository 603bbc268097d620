"""`whyserve record`: verify, export, purge and erase the decision record."""

import json
from pathlib import Path
from typing import Any

from whyserve.errors import ConfigurationError
from whyserve.record.chain import Chain, read_place, read_time
from whyserve.record.erasure import erase, purge
from whyserve.record.store import Store
from whyserve.record.tables import export
from whyserve.record.verify import verify
from whyserve.settings import RecordSettings


def main(settings: RecordSettings, action: str, **given: Any) -> int:
    """Returns the exit code: 1 if a record has a fault. Raises WhyserveError."""
    if settings.record is None:
        raise ConfigurationError("WHYSERVE_RECORD: is not set; set it to the address of the decision record")
    store = Store(settings.record, create=False)
    try:
        if action == "verify":
            faults = list(verify(store, _checkpoints(given["checkpoints"])))
            lines = [fault.text for fault in faults] or [f"no fault in {len(store.chains())} chains"]
        elif action == "export":
            faults, lines = [], [f"{export(store, given['output'])} decisions written to {given['output']}"]
        elif action == "purge":
            faults, lines = [], [f"{purge(store, Chain(), read_time(given['before'], '--before'))} records deleted"]
        else:
            count = erase(store, Chain(), *read_place(given["prediction"], "prediction"), "command line")
            faults, lines = [], [f"the content of {count} records was erased"]
    finally:
        store.close()
    print("\n".join(lines))  # noqa: T201
    return int(bool(faults))


def _checkpoints(path: Path | None) -> list[dict[str, Any]]:
    """The lines of a second store of checkpoints. Raises ConfigurationError."""
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: cannot be read as lines of checkpoints: {error}") from error
    return [_checkpoint(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line]


def _checkpoint(line: str, place: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
        chains = {str(writer): (int(seq), str(end)) for writer, (seq, end) in found["chains"].items()}
        return {"writer": str(found["writer"]), "seq": int(found["seq"]), "hash": found["hash"], "chains": chains}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(f"{place}: is no checkpoint; a crash may have cut it: remove the line") from error
