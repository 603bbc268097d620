"""Read a model folder and check all that can be checked without its framework."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whyserve.errors import InvalidInput, ModelFault
from whyserve.model.arrays import check_arrays, read_npz
from whyserve.model.keras_file import HDF5_REFUSED
from whyserve.model.manifest import sha256
from whyserve.model.missing import fills_of
from whyserve.model.reasons import read_languages
from whyserve.model.rows import Arrays, RowReader, as_row
from whyserve.model.spec import (
    DEFAULT_BACKGROUND,
    EXAMPLE_FILE,
    KERAS_FILE,
    ONNX_FILE,
    WEIGHTS_FILE,
    ModelSpec,
    read_spec,
    unreadable,
)
from whyserve.model.text import TextReader, check_ids, text_readers

# If a file is missing: the endings of other formats of a network, and the message for them.
REFUSED = {
    ONNX_FILE: (
        {".pkl", ".joblib"},
        "a pickle can hold code and is not read; convert the model to ONNX, such as with skl2onnx.to_onnx",
    ),
    KERAS_FILE: ({".h5", ".hdf5"}, HDF5_REFUSED),
    WEIGHTS_FILE: (
        {".pt", ".pth", ".bin", ".ckpt", ".pkl"},
        "pickled weights can hold code and are not read; save them again: "
        'safetensors.torch.save_file(network.state_dict(), "weights.safetensors")',
    ),
}


@dataclass(frozen=True, slots=True)
class Source:
    """A model folder.

    digests: SHA-256 by file name. background: (rows, *shape) by input. backgrounds: the further ones, by name.
    fills: what the network gets for a missing value, by feature.
    example: a request for this model: example.json, or the first row of the background.
    texts: the readers by name of each input that is sent as text.
    """

    folder: Path
    spec: ModelSpec
    digests: dict[str, str]
    background: Arrays
    backgrounds: dict[str, Arrays]
    fills: dict[str, float]
    example: dict[str, Any]
    texts: dict[str, TextReader]

    def examples(self) -> Arrays:
        """The rows of the example, (rows, *shape) by input. Raises ModelFault."""
        try:
            return check_arrays(self.spec, RowReader(self.spec, self.texts)(self.example["instances"]))
        except (InvalidInput, ValueError, KeyError, TypeError) as error:
            words = error.message if isinstance(error, InvalidInput) else "not a valid request for this model"
            raise ModelFault(f"{self.folder.name}/{EXAMPLE_FILE}: {words}") from error

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The minimum and maximum of each numeric feature in the background."""
        return {
            feature.name: (float(present.min()), float(present.max()))
            for item, column, feature in self.spec.features
            if item.is_number(feature)
            for present in [item.present(feature, self.background[item.name][:, column])]
        }


def read_source(folder: Path) -> Source:
    """Read a model folder. Raises ModelFault, which names the file and the fault."""
    spec = read_spec(folder)
    optional = [EXAMPLE_FILE] if (folder / EXAMPLE_FILE).exists() else []
    contents = {name: _read(folder, name) for name in [*spec.source_files, *optional]}
    texts = text_readers(spec, lambda name: contents[name])
    read_languages(spec, lambda name: contents[name])
    backgrounds = {
        name: _background(spec, contents[file], f"{folder.name}/{file}", texts)
        for name, file in spec.explain.files.items()
    }
    background = backgrounds.pop(DEFAULT_BACKGROUND)
    try:
        fills = fills_of(spec, background)
    except InvalidInput as error:
        raise ModelFault(f"{folder.name}/{spec.explain.background}: {error.message}") from error
    if optional:
        example = _example(spec, contents[EXAMPLE_FILE], f"{folder.name}/{EXAMPLE_FILE}")
    else:
        example = {"model": spec.name, "instances": [as_row(spec, background, 0, texts)]}
    digests = {name: sha256(content) for name, content in contents.items()}
    return Source(folder, spec, digests, background, backgrounds, fills, example, texts)


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    if path.resolve().parent != folder.resolve():
        raise ModelFault(f"{folder.name}/{name}: the file is outside the model folder; copy it into the folder")
    try:
        return path.read_bytes()
    except OSError as error:
        suffixes, words = REFUSED.get(name, (set(), ""))
        for other in sorted(folder.iterdir()):
            if other.suffix in suffixes and not path.exists():
                raise ModelFault(f"{folder.name}/{other.name}: {words}") from error
        raise unreadable(f"{folder.name}/{name}", error) from error


def read_unchanged(folder: Path, name: str, digest: str) -> bytes:
    """Read a file of a model folder during the export. Raises ModelFault if its digest has changed since the start."""
    content = (folder / name).read_bytes()
    if sha256(content) != digest:
        raise ModelFault(f"{folder.name}/{name}: the file changed during the export; run the export again")
    return content


def _background(spec: ModelSpec, content: bytes, place: str, texts: dict[str, TextReader]) -> Arrays:
    try:
        arrays = check_arrays(spec, read_npz(content))
        check_ids(spec.inputs, {name: reader.vocabulary for name, reader in texts.items()}, arrays)
        return arrays
    except InvalidInput as error:
        raise ModelFault(f"{place}: {error.message}") from error


def _example(spec: ModelSpec, content: bytes, place: str) -> dict[str, Any]:
    try:
        example: dict[str, Any] = json.loads(content)
        instance = example["instances"][0]
        model, keys = example["model"], set(instance)
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise ModelFault(f'{place}: not a request; write {{"model": …, "instances": [{{…}}]}}') from error
    if model != spec.name:
        raise ModelFault(f'{place}: the model is "{model}"; write "{spec.name}"')
    if odd := sorted(keys.symmetric_difference(spec.keys)):
        words = "is missing" if odd[0] in spec.keys else "is not an input of this model"
        raise ModelFault(f'{place}: instances[0]: "{odd[0]}" {words}')
    return example
