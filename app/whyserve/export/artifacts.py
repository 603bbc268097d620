"""The result of an export: artifacts/<name>/{model.onnx, manifest.json}, both or neither.

artifacts/<name> is a symbolic link to a folder in artifacts/.builds. Replacing a link is atomic. A reader therefore
sees either the two old files or the two new ones.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from whyserve.errors import ModelFault
from whyserve.export.sources import Source, read_unchanged
from whyserve.export.verify import check_files
from whyserve.model.builds import BUILDS, KEPT, ORIGINAL, RECORDED, build_folder, builds_of
from whyserve.model.manifest import EXPORT_AGAIN, MANIFEST_FILE, Manifest, dump_manifest, sha256
from whyserve.model.methods import METHODS
from whyserve.model.spec import ONNX_FILE, ModelSpec

WORK = ".work-"
# An export locks its work folder right after it has made it.
LOCKED_AFTER_S = 60.0


@contextmanager
def work_folder(place: Path) -> Iterator[Path]:
    """A folder in `place` that is removed at the end. Folders that killed exports left there are removed first."""
    for left in place.glob(f"{WORK}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LOCKED_AFTER_S:
                with _locked(left):
                    shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=WORK) as folder, _locked(Path(folder)):
        yield Path(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises OSError if another process has the lock. The lock ends with this process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def tools(spec: ModelSpec) -> dict[str, str]:
    """The versions of the packages that make an artifact of this framework."""
    common = ["torch", "onnx", "onnxruntime", "numpy", "shap"]
    own = {"keras": ["keras", "tensorflow-cpu", "tf2onnx"], "torch": ["onnxscript"], "onnx": []}
    return {name: version(name) for name in sorted(common + own[spec.framework])}


def is_current(artifacts: Path, source: Source, settings: Mapping[str, float]) -> bool:
    """Whether a new export of this source would give the same artifact."""
    folder = artifacts / source.spec.name
    try:
        manifest = check_files(folder)
    except ModelFault:
        return False
    onnx = manifest.files[ONNX_FILE]
    return (
        manifest.files == {**source.digests, ONNX_FILE: onnx} == {ONNX_FILE: onnx, **source.digests}
        and manifest.built_with == tools(source.spec)
        and manifest.settings == settings
        # Another version may have other explanation methods.
        and set(manifest.certificate["methods"]) == {name for name, facts in METHODS.items() if facts.measured}
    )


def write(artifacts: Path, manifest: Manifest, onnx: bytes, source: Source) -> None:
    """Write a build and make it the current one. The last few older builds stay for the services that use them."""
    name = manifest.spec.name
    builds = artifacts / BUILDS
    builds.mkdir(parents=True, exist_ok=True)
    content = dump_manifest(manifest)
    build = builds / build_folder(name, sha256(content))
    with work_folder(builds) as folder:
        new = folder / "build"
        new.mkdir()
        _write_synced(new / ONNX_FILE, onnx)
        _write_synced(new / MANIFEST_FILE, content)
        (new / ORIGINAL).mkdir()
        for file, digest in source.digests.items():
            _write_synced(new / ORIGINAL / file, read_unchanged(source.folder, file, digest))
        shutil.rmtree(build, ignore_errors=True)
        new.rename(build)
        link = folder / "link"
        link.symlink_to(Path(BUILDS, build.name))
        target = artifacts / name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)  # a copy of artifacts in which the link became a folder
        os.replace(link, target)
    _retire(artifacts, builds_of(artifacts, name)[KEPT:])


def _retire(artifacts: Path, builds: Iterable[Path]) -> None:
    """Move builds to those that are kept for the decision record. `recorded_only` then removes the others there."""
    for build in builds:
        place = artifacts / RECORDED
        place.mkdir(exist_ok=True)
        shutil.rmtree(place / build.name, ignore_errors=True)
        with suppress(FileNotFoundError):  # another export may have moved it
            build.rename(place / build.name)


@contextmanager
def recorded_only(artifacts: Path, named: Callable[[], Collection[str]] | None = None) -> Iterator[None]:
    """At the end, only builds that the decision record names are kept beside the current and the last few ones.

    named: reads the names of their folders. None if the record is unknown: those that were kept before are kept.
    """
    place = artifacts / RECORDED
    before = {folder.name for folder in place.glob("*")}
    try:
        yield
    finally:
        if left := list(place.glob("*")):
            kept = before if named is None else named()
            for folder in left:
                if folder.name not in kept:
                    shutil.rmtree(folder, ignore_errors=True)


def recorded_size(artifacts: Path) -> tuple[int, int]:
    """How many builds are kept for the decision record, and their bytes."""
    folders = list((artifacts / RECORDED).glob("*"))
    return len(folders), sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())


def why_unreadable(build: Path) -> str | None:
    """Why this program cannot use a build; None if it can, or if there is no manifest."""
    if not (build / MANIFEST_FILE).is_file():
        return None
    try:
        check_files(build)
    except ModelFault as fault:
        return fault.message.removesuffix(f"; {EXPORT_AGAIN}")
    return None


def set_aside_unreadable(artifacts: Path, name: str) -> list[str]:
    """Move a model's older builds that this program cannot use out of the way. Returns a line for each.

    They are not deleted: an older version of a model may have no other copy.
    """
    lines = []
    for build in builds_of(artifacts, name)[1:]:
        if why := why_unreadable(build):
            kept = artifacts / f"{BUILDS}-unreadable"
            kept.mkdir(exist_ok=True)
            shutil.rmtree(kept / build.name, ignore_errors=True)
            build.rename(kept / build.name)
            lines.append(f"{why}; moved to {kept / build.name}")
    return lines


def prune(artifacts: Path, names: set[str]) -> list[str]:
    """Remove the artifacts of models whose folder no longer exists. Returns their names."""
    gone = [
        path
        for path in artifacts.glob("*")
        if path.name not in names and ((path / MANIFEST_FILE).is_file() or (path.is_symlink() and not path.exists()))
    ]
    for path in gone:
        removed = builds_of(artifacts, path.name)
        if path.is_symlink():
            path.unlink()
        _retire(artifacts, removed)
    return sorted(path.name for path in gone)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
