"""The models being served, by name and version."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from whyserve.errors import ModelFault, UnknownModel
from whyserve.model.builds import Each, builds, builds_of
from whyserve.model.manifest import read_manifest
from whyserve.predict.predictor import Predictor, load_predictor

log = logging.getLogger("whyserve.api")


def unknown_model(available: Iterable[str]) -> UnknownModel:
    """The name that was sent is not repeated, as in every message."""
    return UnknownModel(f"unknown model; available models: {', '.join(available)}", field="model")


class Catalog:
    """Immutable: a change makes a new catalog. Iterates over the current version of each model."""

    def __init__(self, predictors: Iterable[Predictor]) -> None:
        """The first predictor of a model is its current version."""
        self._by_name: dict[str, dict[int, Predictor]] = {}
        for predictor in predictors:
            self._by_name.setdefault(predictor.spec.name, {}).setdefault(predictor.spec.version, predictor)

    def __iter__(self) -> Iterator[Predictor]:
        return (next(iter(versions.values())) for versions in self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    @property
    def all(self) -> list[Predictor]:
        """Every version of every model."""
        return [predictor for versions in self._by_name.values() for predictor in versions.values()]

    def versions(self, name: str) -> Mapping[int, Predictor]:
        return self._by_name.get(name, {})

    def current(self, name: str) -> Predictor | None:
        """The current version of a model; None for an unknown model."""
        return next(iter(self.versions(name).values()), None)

    def get(self, name: str, version: int | None = None) -> Predictor:
        """Raises UnknownModel."""
        versions = self._by_name.get(name)
        if versions is None:
            raise unknown_model(self.names)
        if version is None:
            return next(iter(versions.values()))
        if version not in versions:
            available = ", ".join(map(str, sorted(versions)))
            raise UnknownModel(f"unknown version of {name}; available versions: {available}", field="version")
        return versions[version]

    def with_model(self, name: str, predictors: Sequence[Predictor]) -> "Catalog":
        """A catalog in which these predictors replace a model's versions. With none, the model is removed."""
        kept = {each: list(versions.values()) for each, versions in self._by_name.items()} | {name: list(predictors)}
        return Catalog(predictor for each in sorted(kept) for predictor in kept[each])


def load_catalog(artifacts: Path, threads: int, each: Each = iter) -> Catalog:
    """Load every artifact. Raises ModelFault if one is broken: the service never starts with part of its models."""
    names = each(builds(artifacts))
    return Catalog([predictor for name in names for predictor in load_versions(artifacts, name, threads)])


def load_versions(artifacts: Path, name: str, threads: int, known: Iterable[Predictor] = ()) -> list[Predictor]:
    """The current build of a model, and the newest build of each other version that is kept.

    known: loaded predictors, which are used again if their digest is found.
    An older build that cannot be loaded is skipped, with a warning in the log.
    Raises ModelFault or DigestMismatch, which name the file, if the current build cannot be loaded.
    """
    loaded = {predictor.digest: predictor for predictor in known}
    found: dict[int, Predictor] = {}
    current, *older = builds_of(artifacts, name)
    for build in (current, *older):
        try:
            manifest, digest = read_manifest(build)
            if manifest.spec.version in found:
                continue
            found[manifest.spec.version] = loaded.get(digest) or load_predictor(build, threads)
        except ModelFault as fault:
            if build is current:
                raise
            log.warning("%s: older build not loaded from %s: %s", name, build, fault.message)
    return list(found.values())
