"""The models of a worker: every build in the artifacts folder, and new builds when they are exported."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path

from whyserve.errors import ModelFault, Unavailable
from whyserve.explain.game.device import CPU, Device
from whyserve.explain.models.explainable import ExplainableModel, load_model
from whyserve.model.builds import RECORDED, Each, builds, builds_of, model_folders
from whyserve.model.manifest import MANIFEST_FILE, read_manifest

log = logging.getLogger("whyserve.worker")

LOOK_S = 0.5
# How long a build stays loaded after its folder was deleted: longer than any explanation with it may take.
RETIRED_S = 600.0
# Loading a model is fast, and preparing its default method may take seconds. For so long, the start prepares models;
# the others are prepared while the worker serves.
PREPARE_S = 20.0
# A build that could not be loaded may be one that is still being copied.
TRY_AGAIN_S = 10.0
KEPT_REPLAYED = 2


class ModelRegistry:
    def __init__(
        self, models: Path, artifacts: Path, memory_bytes: int, each: Each = iter, device: Device = CPU
    ) -> None:
        """Load every build. Raises ModelFault or DigestMismatch if the current build of a model cannot be loaded."""
        self._artifacts = artifacts
        self._load_model = partial(load_model, models, memory_bytes=memory_bytes, device=device)
        self._loaded: dict[str, ExplainableModel] = {}
        self._deleted: dict[str, float] = {}  # since when, by digest
        self._known: dict[Path, tuple[int | None, str]] = {}  # loaded builds: the manifest's time, the digest
        # Builds that only the decision record names, by digest. The last few that a job needed stay loaded.
        self._recorded: dict[str, Path] = {}
        self._replayed = lru_cache(KEPT_REPLAYED)(self._load_model)
        self._failed: dict[Path, tuple[str, float]] = {}  # the reason, and when to try again
        found = builds(artifacts)
        for name in each(found):
            current, *older = found[name]
            self._load(current)
            for build in older:
                self._try(build)
        self._find_recorded()
        self._cold = deque(self._loaded.values())
        end = time.monotonic() + PREPARE_S
        while time.monotonic() < end and self._warm_one():
            pass

    def get(self, digest: str) -> ExplainableModel | None:
        """Loads a build that only the decision record names. Raises ModelFault if it cannot be loaded."""
        if digest in self._loaded or digest not in self._recorded:
            return self._loaded.get(digest)
        return self._replayed(self._recorded[digest])

    @property
    def digests(self) -> list[str]:
        """Of the builds that this worker can explain."""
        return [*self._loaded, *(self._recorded.keys() - self._loaded.keys())]

    def _find_recorded(self) -> None:
        known = {folder: digest for digest, folder in self._recorded.items()}
        found = {}
        for folder in (self._artifacts / RECORDED).glob("*"):
            with suppress(ModelFault):
                found[known.get(folder) or read_manifest(folder)[1]] = folder
        self._recorded = found

    def watch(self, stopping: threading.Event, announce: Callable[[Sequence[str]], None]) -> None:
        """Load new builds until `stopping` is set, and announce them. Runs in its own thread."""
        announced: set[str] = set()  # the worker may have announced itself before a build was found
        while not stopping.wait(0 if self._cold else LOOK_S):
            try:
                self.refresh()
                if set(self.digests) != announced:
                    announce(self.digests)
                    announced = set(self.digests)
                self._warm_one()
            except Unavailable:
                pass  # announced the next time
            except Exception:
                log.exception("looking for new builds failed; retrying")

    def refresh(self) -> None:
        """Load new builds, and drop builds that were deleted RETIRED_S ago."""
        try:
            folders = model_folders(self._artifacts, MANIFEST_FILE)
        except ModelFault:
            return  # no model is left; those that were deleted are kept until there is one
        self._find_recorded()
        listed = [build for folder in folders for build in builds_of(self._artifacts, folder.name)]
        for build in listed:
            if self._is_new(build) and (model := self._try(build)):
                model.warm()
        self._known = {build: self._known[build] for build in listed if build in self._known}
        present, now = {digest for _, digest in self._known.values()}, time.monotonic()
        self._deleted = {digest: self._deleted.get(digest, now) for digest in self._loaded.keys() - present}
        for digest in [digest for digest, since in self._deleted.items() if now - since > RETIRED_S]:
            del self._loaded[digest], self._deleted[digest]

    def _is_new(self, build: Path) -> bool:
        if build in self._failed:
            return time.monotonic() > self._failed[build][1]
        return build not in self._known or self._known[build][0] != _written(build)

    def _try(self, build: Path) -> ExplainableModel | None:
        """Load a build. The log says once why it cannot be loaded."""
        try:
            model = self._load(build)
        except ModelFault as fault:
            if self._failed.get(build, ("", 0.0))[0] != fault.message:
                log.error("%s: cannot be loaded: %s", build, fault.message)
            self._failed[build] = fault.message, time.monotonic() + TRY_AGAIN_S
            return None
        self._failed.pop(build, None)
        return model

    def _load(self, build: Path) -> ExplainableModel:
        written = _written(build)
        model = self._load_model(build)
        self._loaded[model.digest] = model
        self._known[build] = written, model.digest
        return model

    def _warm_one(self) -> bool:
        """Prepare the next model that is not prepared. Returns whether there was one."""
        if self._cold:
            self._cold.popleft().warm()
        return bool(self._cold)


def _written(build: Path) -> int | None:
    with suppress(OSError):
        return (build / MANIFEST_FILE).stat().st_mtime_ns
    return None
