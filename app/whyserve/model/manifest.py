"""manifest.json: what `whyserve export` found out about a model, and what both processes agree on."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from whyserve.errors import DigestMismatch, ModelFault
from whyserve.model.input_spec import Strict
from whyserve.model.spec import DEFAULT_BACKGROUND, ModelSpec, one_line

MANIFEST_FILE = "manifest.json"
ONNX_FILE = "model.onnx"
# Raise it when the manifest's fields or the meaning of their values change: all models are then exported again, and no
# process reads the older artifacts.
FORMAT = 2
RUN_EXPORT = "; run `whyserve export`"


class Parity(Strict):
    """How far the served network is from the original, as a share of the output's scale."""

    rows: int
    largest: float
    bound: float
    batches: tuple[int, ...]
    twin_largest: float | None = None  # Keras on torch, which explains, against Keras on TensorFlow


class Manifest(Strict):
    """manifest.json: what both processes agree on."""

    format: int
    spec: ModelSpec
    files: dict[str, str]  # file name: SHA-256; model.onnx and the folder's files
    columns: int  # of the network's output
    ranges: dict[str, tuple[float, float]]  # numeric feature: least and greatest of the background
    vocabularies: dict[str, int] = Field(default_factory=dict)  # input: ids 0 to n − 1 are all that it takes
    background_rows: int
    backgrounds: dict[str, int] = Field(default_factory=dict)  # named ones besides: rows
    example: dict[str, Any]  # a request that works
    parity: Parity
    certificate: dict[str, Any] = Field(default_factory=dict)
    built_with: dict[str, str]
    settings: dict[str, float] = Field(default_factory=dict)  # of the export, where they shape its result

    def background(self, name: str = DEFAULT_BACKGROUND) -> tuple[int, str]:
        """Rows and SHA-256 of a background of this model."""
        rows = self.background_rows if name == DEFAULT_BACKGROUND else self.backgrounds[name]
        return rows, self.files[self.spec.explain.files[name]]


class _Format(BaseModel):
    format: int


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """Read folder/manifest.json. Returns the manifest and its digest.

    Raises ModelFault if the file cannot be read, is invalid, or has another format than this program's.
    """
    place = f"{folder.name}/{MANIFEST_FILE}"
    try:
        content = (folder / MANIFEST_FILE).read_bytes()
        # The format first: a manifest of another format may have other fields.
        found = _Format.model_validate_json(content).format
        if found != FORMAT:
            raise ModelFault(
                f"{place}: exported by another version of Whyserve (format {found}, this program needs {FORMAT})"
                + RUN_EXPORT
            )
        return Manifest.model_validate_json(content), sha256(content)
    except OSError as error:
        raise ModelFault(f"{place}: cannot be read: {error.strerror}{RUN_EXPORT}") from error
    except ValidationError as error:
        raise ModelFault(f"{place}: {one_line(error)}{RUN_EXPORT}") from error


def read_checked(folder: Path, name: str, manifest: Manifest, of: str | None = None) -> bytes:
    """Read a file only if it is the one the manifest describes. Raises DigestMismatch, ModelFault.

    of: what messages call the folder.
    """
    place = f"{of or folder.name}/{name}"
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise ModelFault(f"{place}: cannot be read: {error.strerror}") from error
    if sha256(content) != manifest.files.get(name):
        raise DigestMismatch(f"{place}: not the file that was exported; run `whyserve export`")
    return content


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def dump_manifest(manifest: Manifest) -> bytes:
    """Stable JSON: the digest of the same facts is the same."""
    return json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False).encode() + b"\n"
