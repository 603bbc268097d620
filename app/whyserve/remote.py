"""Files and folders of object stores, such as s3://bucket/models and hf://owner/repository, through fsspec.

The package of each store reads the credentials as it always does. A folder of models is copied into the state folder:
`local_folder` says where, and `fetch` makes the copy. The name of a copy is its address, so a process needs only its
path.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

from whyserve.errors import ConfigurationError, first_line
from whyserve.model.manifest import sha256
from whyserve.model.spec import SPEC_FILE

# In the state folder: the copies of folders of models.
COPIES = "remote"
# In a copy: the files of each model in a folder that their digest names, and folders that are being filled.
DIGESTS, PART = ".digests", ".part-"

Files = dict[str, tuple[str, str]]
"""By the name of a file: its path in the store, and the digest that the store has of it, such as an ETag."""


def is_address(place: object) -> bool:
    return "://" in str(place)


class Store:
    """A file system of fsspec. Its methods raise ConfigurationError, whatever the types of errors of the store are."""

    def __init__(self, system: Any, place: str) -> None:
        self._system, self._place = system, place

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._system, name)

        def call(*arguments: Any, **options: Any) -> Any:
            try:
                return method(*arguments, **options)
            except Exception as error:
                raise fault(self._place, error) from error

        return call


def fault(place: str, error: Exception) -> ConfigurationError:
    """What an error of a store means."""
    if isinstance(error, FileNotFoundError):
        return ConfigurationError(f"{place}: not found")
    if isinstance(error, PermissionError):
        return ConfigurationError(f"{place}: access denied; check the credentials")
    return ConfigurationError(f"{place}: {first_line(error)}")


def file_system(place: str) -> tuple[Any, str]:
    """The file system of a path or an address, and the path in it.

    Raises ConfigurationError if the package of the store is not installed.
    """
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415

        system, path = url_to_fs(place)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"{place}: there is no package for such addresses; for s3:// and hf://: pip install 'whyserve[remote]'"
        ) from error
    return (Store(system, place) if is_address(place) else system), path


def open_bytes(place: str | os.PathLike[str], **options: Any) -> IO[bytes]:
    """A file, to read. options: of fsspec, for an address. Raises OSError, and ConfigurationError if a store fails."""
    if not is_address(place):
        return Path(place).open("rb")
    system, path = file_system(str(place))
    return system.open(path, "rb", **options)  # type: ignore[no-any-return]


def local_folder(place: str, state: Path) -> Path:
    """Where the copy of an address is. A path stays as it is."""
    return state.absolute() / COPIES / quote(place.rstrip("/"), safe="") if is_address(place) else Path(place)


def address_of(folder: Path) -> str | None:
    """The address of a copy; None for any other folder."""
    address = unquote(folder.name)
    return address if folder.parent.name == COPIES and is_address(address) else None


def fetch(folder: Path, only: str | None = None) -> None:
    """Make a copy of a folder of models equal to its address. Does nothing for any other folder.

    folder/NAME is a symbolic link, which is replaced when all files of the model are here: a reader sees the old files
    or the new ones. Files that are here are not downloaded again. only: the name of the one model to fetch.
    Raises ConfigurationError if the store cannot be read or has no model. The copy then is as it was before.
    """
    if (address := address_of(folder)) is None:
        return
    try:
        (folder / DIGESTS).mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in folder.glob(f"{PART}*"):  # of a process that was killed
                shutil.rmtree(left)
            found, before = _listed(address, only), _linked(folder)
            complete = [name for name, files in found.items() if SPEC_FILE in files]
            if not complete:
                raise ConfigurationError(f"{address}: no folder {only or 'in it'} holds a {SPEC_FILE}")
            for name in complete:
                _fetch_model(address, folder, name, found[name])
            for link in folder.iterdir():  # a folder that lacks its model.toml is being replaced
                if only is None and link.is_symlink() and link.name not in found:
                    link.unlink()
            for files in (folder / DIGESTS).glob("*/*"):
                if str(files.relative_to(folder)) not in before | _linked(folder):  # an export may read the last ones
                    shutil.rmtree(files.parent)
    except OSError as error:
        raise ConfigurationError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _listed(address: str, only: str | None) -> dict[str, Files]:
    """The files of each folder, by its name."""
    system, root = file_system(address)
    system.invalidate_cache()
    folders: dict[str, Files] = {}
    for path, facts in system.find(f"{root}/{only}" if only else root, detail=True).items():
        parts = path.removeprefix(f"{root}/").split("/")
        if len(parts) == 2 and all(parts) and not any(part.startswith(".") for part in parts):
            digest = str(facts.get("ETag") or facts.get("blob_id") or facts)
            folders.setdefault(parts[0], {})[parts[1]] = path, digest
    return folders


def _fetch_model(address: str, folder: Path, name: str, files: Files) -> None:
    digest = sha256(f"{name} {sorted(files.items())}".encode())[:16]
    target = Path(DIGESTS, digest, name)  # the folder of a model has its name
    with tempfile.TemporaryDirectory(dir=folder, prefix=PART) as part:
        if not (folder / target).is_dir():
            new = Path(part, name)
            new.mkdir()
            system, _ = file_system(address)
            for file, (path, _) in files.items():
                system.get_file(path, str(new / file))
            if _listed(address, name).get(name) != files:
                raise ConfigurationError(f"{address}/{name}: changed during the download; try again")
            (folder / target).parent.mkdir(exist_ok=True)
            new.rename(folder / target)
        Path(part, "link").symlink_to(target)
        os.replace(Path(part, "link"), folder / name)


def _linked(folder: Path) -> set[str]:
    return {os.readlink(link) for link in folder.iterdir() if link.is_symlink()}
