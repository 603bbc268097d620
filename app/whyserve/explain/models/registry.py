"""The models of a worker: every build in the artifacts folder, and new builds when they are exported."""

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
# How long a build stays loaded after its folder was deleted: longer than any explanation with it may take.
RETIRED_S = 600.0


class ModelRegistry:
    def __init__(self, models: Path, artifacts: Path, memory_bytes: int) -> None:
        """Load every build. Raises ModelFault or DigestMismatch if the current build of a model cannot be loaded."""
        self._models, self._artifacts, self._memory_bytes = models, artifacts, memory_bytes
        self._loaded: dict[str, ExplainableModel] = {}
        self._deleted: dict[str, float] = {}  # since when, by digest
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
        """Load new builds until `stopping` is set, and announce them. Runs in its own thread."""
        announced = set(self.digests)
        while not stopping.wait(LOOK_S):
            try:
                self.refresh()
                if set(self.digests) != announced:
                    announce(self.digests)
                    announced = set(self.digests)
            except Unavailable:
                pass  # announced the next time
            except Exception:
                log.exception("looking for new builds failed; retrying")

    def refresh(self) -> None:
        """Load new builds, and drop builds that were deleted RETIRED_S ago."""
        try:
            listed = self._listed()
        except WhyserveError:
            return  # an export is changing the folder
        for build in sorted(listed - self._known):
            self._try(build)
        if listed != self._known:
            present = {digest for build in listed if (digest := _digest(build))}
            self._deleted = {
                digest: self._deleted.get(digest, time.monotonic()) for digest in set(self._loaded) - present
            }
        self._known = listed
        for digest in [digest for digest, since in self._deleted.items() if time.monotonic() - since > RETIRED_S]:
            del self._loaded[digest], self._deleted[digest]

    def _listed(self) -> set[Path]:
        return {build for each in builds(self._artifacts).values() for build in each}

    def _try(self, build: Path) -> None:
        try:
            self._load(build)
        except ModelFault as fault:
            log.error("%s: cannot be loaded: %s", build.name, fault.message)

    def _load(self, build: Path) -> None:
        model = load_model(self._models, build, self._memory_bytes)
        self._loaded[model.digest] = model


def _digest(build: Path) -> str | None:
    try:
        return read_manifest(build)[1]
    except ModelFault:
        return None
