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
        removed = (old & REPLACED) - {path.name for path in files}
        if address.startswith("hf://"):
            _commit(address, system.resolve_path(root), files, removed)
        else:
            _replace(system, root, files, [*(old & {SPEC_FILE}), *removed])


def _replace(system: Any, root: str, files: Collection[Path], removed: Collection[str]) -> None:
    """Upload all files beside the old ones. Then remove model.toml, and give each file its name, model.toml the last.

    A reader keeps its copy of a folder without model.toml (`whyserve.remote.fetch`).
    """
    parts = {f"{root}/{PART}{secrets.token_hex(4)}-{path.name}": path for path in files}
    try:
        for part, path in parts.items():
            system.put_file(str(path), part)
        for name in removed:
            system.rm_file(f"{root}/{name}")
        for part, path in parts.items():
            system.cp_file(part, f"{root}/{path.name}")
    finally:
        for part in parts:
            with suppress(ConfigurationError):  # it was not uploaded, or stays: readers ignore it
                system.rm_file(part)


def _commit(address: str, place: Any, files: Collection[Path], removed: Collection[str]) -> None:
    """Make one commit of a repository of the Hub."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi  # noqa: PLC0415

    folder, of = place.path_in_repo, {"repo_type": place.repo_type, "revision": place.revision}
    added = [CommitOperationAdd(f"{folder}/{path.name}", path) for path in files]
    deleted = [CommitOperationDelete(f"{folder}/{name}") for name in removed]
    try:
        HfApi().create_commit(place.repo_id, [*added, *deleted], commit_message=f"Package {folder}", **of)
    except Exception as error:
        raise fault(address, error) from error
