"""A model folder, read and checked as far as that goes without its framework."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whyserve.errors import InvalidInput, ModelFault
from whyserve.model.arrays import check_arrays, read_npz
from whyserve.model.manifest import sha256
from whyserve.model.rows import Arrays, RowReader, as_row
from whyserve.model.spec import DEFAULT_BACKGROUND, EXAMPLE_FILE, KERAS_FILE, WEIGHTS_FILE, ModelSpec, read_spec
from whyserve.model.text import TextReader, check_ids, text_readers

# Where a file is missing: what else a network may have been saved as, and what to do about that.
UNREAD = {
    KERAS_FILE: (
        {".h5", ".hdf5"},
        'HDF5 can hold code, and is not read; save the model anew: model.save("model.keras")',
    ),
    WEIGHTS_FILE: (
        {".pt", ".pth", ".bin", ".ckpt", ".pkl"},
        "pickled weights can hold code, and are not read; save them anew: "
        'safetensors.torch.save_file(network.state_dict(), "weights.safetensors")',
    ),
}


@dataclass(frozen=True, slots=True)
class Source:
    """folder: where it lies. digests: SHA-256 by file name. background: (rows, *shape) by input. backgrounds: the named
    ones besides. example: a request for this model; without one in the folder, of the background's first row. texts: by
    the name of each input that is sent as text."""

    folder: Path
    spec: ModelSpec
    digests: dict[str, str]
    background: Arrays
    backgrounds: dict[str, Arrays]
    example: dict[str, Any]
    texts: dict[str, TextReader]

    def examples(self) -> Arrays:
        """The example's rows, (rows, *shape) by input, of a model that is sent text. Raises ModelFault."""
        try:
            return check_arrays(self.spec, RowReader(self.spec, self.texts)(self.example["instances"]))
        except (InvalidInput, ValueError, KeyError, TypeError) as error:
            words = error.message if isinstance(error, InvalidInput) else "not a request that the model takes"
            raise ModelFault(f"{self.folder.name}/{EXAMPLE_FILE}: {words}") from error


def read_source(folder: Path) -> Source:
    """Read a model folder. Raises ModelFault, which names the file and the fault."""
    spec = read_spec(folder)
    given = [EXAMPLE_FILE] if (folder / EXAMPLE_FILE).exists() else []
    contents = {name: _read(folder, name) for name in [*spec.source_files, *given]}
    texts = text_readers(spec, lambda name: contents[name])
    backgrounds = {
        name: _background(spec, contents[file], f"{folder.name}/{file}", texts)
        for name, file in spec.explain.files.items()
    }
    background = backgrounds.pop(DEFAULT_BACKGROUND)
    if given:
        example = _example(spec, contents[EXAMPLE_FILE], f"{folder.name}/{EXAMPLE_FILE}")
    else:
        example = {"model": spec.name, "instances": [as_row(spec, background, 0, texts)]}
    digests = {name: sha256(content) for name, content in contents.items()}
    return Source(folder, spec, digests, background, backgrounds, example, texts)


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    if path.resolve().parent != folder.resolve():
        raise ModelFault(f"{folder.name}/{name}: lies outside the model's folder")
    try:
        return path.read_bytes()
    except OSError as error:
        suffixes, words = UNREAD.get(name, (set(), ""))
        for other in sorted(folder.iterdir()):
            if other.suffix in suffixes and not path.exists():
                raise ModelFault(f"{folder.name}/{other.name}: {words}") from error
        raise ModelFault(f"{folder.name}/{name}: cannot be read: {error.strerror}") from error


def _background(spec: ModelSpec, content: bytes, place: str, texts: dict[str, TextReader]) -> Arrays:
    try:
        arrays = check_arrays(spec, read_npz(content))
        check_ids({name: reader.vocabulary for name, reader in texts.items()}, arrays)
        return arrays
    except InvalidInput as error:
        raise ModelFault(f"{place}: {error.message}") from error


def _example(spec: ModelSpec, content: bytes, place: str) -> dict[str, Any]:
    try:
        example: dict[str, Any] = json.loads(content)
        instance = example["instances"][0]
        model, keys = example["model"], set(instance)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelFault(f'{place}: not a request: {{"model": …, "instances": [{{…}}]}} is needed') from error
    if model != spec.name:
        raise ModelFault(f'{place}: asks for model "{model}", not "{spec.name}"')
    if odd := sorted(keys.symmetric_difference(spec.keys)):
        words = "is missing" if odd[0] in spec.keys else "is not an input of this model"
        raise ModelFault(f'{place}: instances[0]: "{odd[0]}" {words}')
    return example
