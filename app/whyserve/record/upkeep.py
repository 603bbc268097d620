"""What a writer does each minute: purge what is too old or too much, and close the chains by a checkpoint."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from whyserve.record.chain import Chain, now_us
from whyserve.record.erasure import purge, time_to_keep
from whyserve.record.store import Store
from whyserve.settings import ApiSettings

log = logging.getLogger("whyserve.record")

DAY_US = 86_400 * 10**6


class Upkeep:
    def __init__(self, settings: ApiSettings) -> None:
        self._keep_days, self._keep_mb = settings.record_keep_days, settings.record_keep_mb
        self._checkpoints = settings.record_checkpoints  # the second store
        self._known: dict[str, int] = {}

    def __call__(self, store: Store, chain: Chain) -> None:
        """Raises RecordUnavailable."""
        self._purge(store, chain)
        record = store.checkpoint(chain, self._known)
        head = json.loads(record["head"])
        line = {"time": head["time"], "writer": head["writer"], "seq": head["seq"], "hash": record["hash"],
                "chains": head["chains"]}  # fmt: skip
        log.info("checkpoint", extra=line)
        if self._checkpoints:
            self._append(self._checkpoints, line)

    @staticmethod
    def _append(path: Path, line: dict[str, Any]) -> None:
        try:
            with path.open("a", encoding="utf-8") as file:
                # The line break comes first: a line that a crash has cut then spoils no other one.
                file.write("\n" + json.dumps(line))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            log.error("WHYSERVE_RECORD_CHECKPOINTS: %s cannot be written: %s", path, error.strerror)

    def _purge(self, store: Store, chain: Chain) -> None:
        ends = [now_us() - int(self._keep_days * DAY_US)] if self._keep_days else []
        if self._keep_mb and (end := time_to_keep(store, self._keep_mb << 20)):
            ends.append(end)
        if ends and (count := purge(store, chain, max(ends))):
            log.info("records were purged by their age or size", extra={"records": count})
