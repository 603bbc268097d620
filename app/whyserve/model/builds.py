"""The builds of a model: artifacts/<name> links to the current build, and the last few older builds are kept.

Each build keeps, in original/, the files of the model folder that it was exported from. The worker can therefore
explain an older build with that build's own network.
"""

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from whyserve.errors import ModelFault
from whyserve.model.manifest import EXPORT_AGAIN, MANIFEST_FILE, Manifest, read_checked
from whyserve.model.spec import unreadable

BUILDS = ".builds"
ORIGINAL = "original"
# Older builds that the decision record names. They are explained with, and not served.
RECORDED = ".recorded"
# Builds kept of one model: the current one, and older ones that a running service may still use.
KEPT = 3
# Passes the names of models on, and may report how many have been loaded.
Each = Callable[[Collection[str]], Iterable[str]]


def model_folders(root: Path, file: str) -> list[Path]:
    """The folders in `root` that contain `file`, sorted by name. Raises ModelFault if there is none."""
    if not root.is_dir():
        raise ModelFault(f"{root}: no such folder; give the folder that contains the models")
    try:
        found = sorted(path for path in root.iterdir() if not path.name.startswith(".") and (path / file).is_file())
    except OSError as error:
        raise unreadable(str(root), error, f"give user {os.getuid()} permission to read it") from error
    if not found:
        raise ModelFault(f"{root}: no folder in it holds a {file}")
    return found


def builds(artifacts: Path) -> dict[str, list[Path]]:
    """The builds of each model: the current one first, then the others from new to old.

    Raises ModelFault if there is no model, or if a model's current build is missing.
    """
    folders = model_folders(artifacts, MANIFEST_FILE)
    for path in artifacts.iterdir():
        if path.is_symlink() and path not in folders:
            raise ModelFault(f"{path.name}/{MANIFEST_FILE}: missing; {EXPORT_AGAIN}")
    return {folder.name: builds_of(artifacts, folder.name) for folder in folders}


def builds_of(artifacts: Path, name: str) -> list[Path]:
    """The builds of one model, in the same order."""
    current = (artifacts / name).resolve()
    older = [
        path
        for path in (artifacts / BUILDS).resolve().glob(f"{name}-*")
        if path.name.rpartition("-")[0] == name and path != current and (path / MANIFEST_FILE).is_file()
    ]
    return [current, *sorted(older, key=_age)]


def build_folder(model: str, digest: str) -> str:
    """The name of the folder of a build. digest: of its manifest."""
    return f"{model}-{digest[:16]}"


def find_build(artifacts: Path, model: str, digest: str) -> Path | None:
    """A build that is served, kept or recorded; None if it is gone."""
    folders = [artifacts / place / build_folder(model, digest) for place in (BUILDS, RECORDED)]
    return next((folder for folder in folders if (folder / MANIFEST_FILE).is_file()), None)


def _age(build: Path) -> float:
    try:
        return -build.stat().st_mtime
    except OSError:  # another process removed the build
        return 0.0


def read_original(models: Path, build: Path, name: str, manifest: Manifest) -> bytes:
    """Read a file that the build was exported from, and check its digest. Raises DigestMismatch, ModelFault."""
    folder = build / ORIGINAL
    return read_checked(folder if folder.is_dir() else models / manifest.spec.name, name, manifest, manifest.spec.name)
