"""Where builds of a model lie: artifacts/<name> links to the current one, and some before it are kept beside.

A build holds, under original/, the files that it was made of: an older one is explained by its own network.
"""

from pathlib import Path

from whyserve.errors import ModelFault
from whyserve.model.manifest import MANIFEST_FILE, RUN_EXPORT, Manifest, read_checked
from whyserve.model.spec import model_folders

BUILDS = ".builds"
ORIGINAL = "original"
# Builds of one model that are kept: the current one, and those that a running service may still answer with.
KEPT = 3


def builds(artifacts: Path) -> dict[str, list[Path]]:
    """The builds of each model: the current one first, then the others from new to old.

    Raises ModelFault if there is no model, or if a model's current build is missing.
    """
    folders = model_folders(artifacts, MANIFEST_FILE)
    for path in artifacts.iterdir():
        if path.is_symlink() and path not in folders:
            raise ModelFault(f"{path.name}/{MANIFEST_FILE}: missing{RUN_EXPORT}")
    return {folder.name: builds_of(artifacts, folder.name) for folder in folders}


def builds_of(artifacts: Path, name: str) -> list[Path]:
    current = (artifacts / name).resolve()
    older = [
        path
        for path in (artifacts / BUILDS).glob(f"{name}-*")
        if path.name.rpartition("-")[0] == name and path.resolve() != current and (path / MANIFEST_FILE).is_file()
    ]
    return [current, *sorted(older, key=_age)]


def _age(build: Path) -> float:
    try:
        return -build.stat().st_mtime
    except OSError:  # removed since it was listed
        return 0.0


def read_original(models: Path, build: Path, name: str, manifest: Manifest) -> bytes:
    """A file that the build was made of, its digest checked. Raises DigestMismatch, ModelFault."""
    folder = build / ORIGINAL
    return read_checked(folder if folder.is_dir() else models / manifest.spec.name, name, manifest, manifest.spec.name)
