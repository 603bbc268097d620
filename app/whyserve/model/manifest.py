"""manifest.json: the facts that `whyserve export` measured of a model. The API and the worker both read it."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from whyserve.errors import DigestMismatch, ModelFault
from whyserve.model.input_spec import Strict, one_line
from whyserve.model.spec import DEFAULT_BACKGROUND, ModelSpec, unreadable

MANIFEST_FILE = "manifest.json"
# Raise it when the manifest's fields or the meaning of their values change: all models are then exported again, and no
# process reads the older artifacts.
FORMAT = 6
EXPORT_AGAIN = "run `whyserve export`"
# The last operation of a network whose ONNX file also returns the argument of this operation, as the tensor LOGITS.
Ending = Literal["softmax", "sigmoid"]
LOGITS = "whyserve.logits"


class Parity(Strict):
    """The difference between the exported network and the original one.

    largest, bound, twin_largest: |difference| divided by the largest |output| of the original.
    batches: the batch sizes that were tried.
    itself: the served file is the original, as for every ONNX model. Its outputs in batches of these sizes are compared
        with its own outputs in batches of 64 rows.
    """

    rows: int
    largest: float
    bound: float
    batches: tuple[int, ...]
    itself: bool = False
    logits_largest: float | None = None  # the same for the tensor LOGITS
    twin_largest: float | None = None  # Keras on torch, which the worker explains, against Keras on TensorFlow


class Manifest(Strict):
    """manifest.json."""

    format: int
    spec: ModelSpec
    files: dict[str, str]  # SHA-256 by file name: model.onnx and the files of the model folder
    columns: int  # of the network's output
    ending: Ending | None = None
    ranges: dict[str, tuple[float, float]]  # minimum and maximum in the background, by numeric feature
    fills: dict[str, float] = Field(default_factory=dict)  # what the network gets for a missing value, by feature
    vocabularies: dict[str, int] = Field(default_factory=dict)  # n by feature or input: it takes the ids 0 to n − 1
    background_rows: int
    backgrounds: dict[str, int] = Field(default_factory=dict)  # number of rows, by name of each further background
    example: dict[str, Any]  # a valid request
    # The largest attributions of the example's top output: {"output": name, "attributions": {player: value}}.
    reasons: dict[str, Any] = Field(default_factory=dict)
    parity: Parity
    certificate: dict[str, Any] = Field(default_factory=dict)
    built_with: dict[str, str]
    settings: dict[str, float] = Field(default_factory=dict)  # settings of the export that influence its result

    @property
    def players(self) -> dict[str, Any]:
        """The players of a request that names none: of model.toml, or else those that the export chose."""
        chosen: dict[str, Any] = self.spec.explain.players or self.certificate.get("players", {})
        return chosen

    def background(self, name: str = DEFAULT_BACKGROUND) -> tuple[int, str]:
        """The number of rows and the SHA-256 of a background."""
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
                f"{place}: exported by another version of Whyserve (format {found}, this program needs {FORMAT});"
                f" {EXPORT_AGAIN}"
            )
        manifest = Manifest.model_validate_json(content)
        if "methods" not in manifest.certificate:
            raise ModelFault(f"{place}: the certificate is missing; {EXPORT_AGAIN}")
        return manifest, sha256(content)
    except OSError as error:
        raise unreadable(place, error, EXPORT_AGAIN) from error
    except ValidationError as error:
        raise ModelFault(f"{place}: {one_line(error)}; {EXPORT_AGAIN}") from error


def read_checked(folder: Path, name: str, manifest: Manifest, of: str | None = None) -> bytes:
    """Read a file and check its digest against the manifest. Raises DigestMismatch, ModelFault.

    of: the name of the folder in messages.
    """
    place = f"{of or folder.name}/{name}"
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise unreadable(place, error) from error
    if sha256(content) != manifest.files.get(name):
        raise DigestMismatch(f"{place}: not the file that was exported; {EXPORT_AGAIN}")
    return content


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def dump_manifest(manifest: Manifest) -> bytes:
    """The same facts always give the same bytes, so that the digest of a manifest identifies a build."""
    return json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False).encode() + b"\n"
