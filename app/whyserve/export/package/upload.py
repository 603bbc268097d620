"""Upload a model folder to an object store. A reader gets the old files of the model or the new ones, never a mix."""

import secrets
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from whyserve.errors import ConfigurationError
from whyserve.export.package.folder import REPLACED
from whyserve.model.spec import SPEC_FILE
from whyserve.remote import PART, fault, file_system


@contextmanager
def uploaded(address: str) -> Iterator[Path]:
    """A folder of this machine to write. At the end of the block without an error, its files go to the address.

    At first it holds the model.toml of the address, if there is one.
    Raises ConfigurationError if the store cannot be read or written. The address then has its old files, or, after a
    fault in the last step, no model.toml.
    """
    system, root = file_system(address.rstrip("/"))
    system.invalidate_cache()
    old = {path.rpartition("/")[2] for path in system.find(root, maxdepth=1)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, root.rpartition("/")[2])
        folder.mkdir()
        if SPEC_FILE in old:
            system.get_file(f"{root}/{SPEC_FILE}", str(folder / SPEC_FILE))
        yield folder
        files = sorted(folder.iterdir(), key=lambda path: path.name == SPEC_FILE)
        left = (old & REPLACED) - {path.name for path in files}
        if address.startswith("hf://") and hasattr(place := system.resolve_path(root), "repo_id"):
            _commit(address, place, files, left)
        else:
            _replace(system, root, files, old & (left | {SPEC_FILE}))


def _replace(system: Any, root: str, files: Collection[Path], removed: Collection[str]) -> None:
    """Upload all files beside the old ones. Then remove model.toml, and give each file its name, model.toml the last.

    A reader keeps its copy of a folder without model.toml (`whyserve.remote.fetch`).
    """
    start, parts = f"{root}/{PART}{secrets.token_hex(4)}-", list[str]()
    try:
        for path in files:
            system.put_file(str(path), f"{start}{path.name}")
            parts.append(f"{start}{path.name}")
        for name in sorted(removed, key=lambda name: name != SPEC_FILE):
            system.rm_file(f"{root}/{name}")
        for path, part in zip(files, parts, strict=True):
            system.cp_file(part, f"{root}/{path.name}")
    finally:
        with suppress(ConfigurationError):  # readers ignore what is left
            for part in parts:
                system.rm_file(part)


def _commit(address: str, place: Any, files: Collection[Path], removed: Collection[str]) -> None:
    """Make one commit of a repository of the Hub."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi  # noqa: PLC0415

    folder = place.path_in_repo
    added = [CommitOperationAdd(f"{folder}/{path.name}", path) for path in files]
    deleted = [CommitOperationDelete(f"{folder}/{name}") for name in removed]
    try:
        HfApi().create_commit(
            place.repo_id,
            [*added, *deleted],
            commit_message=f"Package {folder}",
            repo_type=place.repo_type,
            revision=place.revision,
        )
    except Exception as error:
        raise fault(address, error) from error
