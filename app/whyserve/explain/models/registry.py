"""The models of a worker: every build that is kept, and new ones as they are exported."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from whyserve.errors import ModelFault, Unavailable, WhyserveError
from whyserve.explain.models.explainable import ExplainableModel, load_model
from whyserve.model.builds import builds
from whyserve.model.manifest import read_manifest

log = logging.getLogger("whyserve.worker")

LOOK_S = 0.5
# Explanations by a build that is gone from the disk may still be on their way: longer than any of them may take.
RETIRED_S = 600.0


class ModelRegistry:
    def __init__(self, models: Path, artifacts: Path, memory_bytes: int) -> None:
        """Load every build. Raises ModelFault, DigestMismatch: half a set is not served."""
        self._models, self._artifacts, self._memory_bytes = models, artifacts, memory_bytes
        self._loaded: dict[str, ExplainableModel] = {}
        self._gone: dict[str, float] = {}
        for current, *older in builds(artifacts).values():
            self._load(current)
            for build in older:
                self._try(build)
        self._known = self._listed()

    def get(self, digest: str) -> ExplainableModel | None:
        return self._loaded.get(digest)

    @property
    def digests(self) -> list[str]:
        return list(self._loaded)

    def watch(self, stopping: threading.Event, announce: Callable[[Sequence[str]], None]) -> None:
        """Load what is exported from now on, beside the work on explanations, and announce it."""
        told = set(self.digests)
        while not stopping.wait(LOOK_S):
            try:
                self.refresh()
                if set(self.digests) != told:
                    announce(self.digests)
                    told = set(self.digests)
            except Unavailable:
                pass  # told at the next look
            except Exception:
                log.exception("new builds could not be looked for; trying again")

    def refresh(self) -> None:
        """Load what is new, and drop what has long been gone."""
        try:
            listed = self._listed()
        except WhyserveError:
            return  # the folder is being changed, or is not there for a moment
        for build in sorted(listed - self._known):
            self._try(build)
        if listed != self._known:
            present = {digest for build in listed if (digest := _digest(build))}
            self._gone = {digest: self._gone.get(digest, time.monotonic()) for digest in set(self._loaded) - present}
        self._known = listed
        for digest in [digest for digest, since in self._gone.items() if time.monotonic() - since > RETIRED_S]:
            del self._loaded[digest], self._gone[digest]

    def _listed(self) -> set[Path]:
        return {build for each in builds(self._artifacts).values() for build in each}

    def _try(self, build: Path) -> None:
        try:
            self._load(build)
        except ModelFault as fault:
            log.error("%s: not loaded: %s", build.name, fault.message)

    def _load(self, build: Path) -> None:
        model = load_model(self._models, build, self._memory_bytes)
        self._loaded[model.digest] = model


def _digest(build: Path) -> str | None:
    try:
        return read_manifest(build)[1]
    except ModelFault:
        return None
