"""manifest.json: what `whyserve export` found out about a model, and what both processes agree on."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from whyserve.errors import DigestMismatch, ModelFault
from whyserve.model.input_spec import Strict
from whyserve.model.spec import DEFAULT_BACKGROUND, ModelSpec, one_line

MANIFEST_FILE = "manifest.json"
ONNX_FILE = "model.onnx"


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


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """Read folder/manifest.json and give it with its digest. Raises ModelFault."""
    path = folder / MANIFEST_FILE
    try:
        content = path.read_bytes()
        return Manifest.model_validate_json(content), sha256(content)
    except OSError as error:
        raise ModelFault(
            f"{folder.name}/{MANIFEST_FILE}: cannot be read: {error.strerror}; run `whyserve export`"
        ) from error
    except ValidationError as error:
        raise ModelFault(f"{folder.name}/{MANIFEST_FILE}: {one_line(error)}; run `whyserve export`") from error


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
