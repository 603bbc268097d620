"""Your own model, in one call: from a network in a notebook to a model folder, exported, held to parity, certified."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from whyserve.errors import InvalidInput, ModelFault
from whyserve.export.build import export_one
from whyserve.export.package.describe import describe_output, kind_of, range_of
from whyserve.export.package.text import TextBackground, read_texts
from whyserve.export.package.toml import to_toml
from whyserve.export.package.trials import try_background
from whyserve.model.input_spec import InputSpec
from whyserve.model.manifest import Manifest
from whyserve.model.rows import Arrays, as_row
from whyserve.model.spec import (
    EXAMPLE_FILE,
    KERAS_FILE,
    NETWORK_FILE,
    SPEC_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    ModelSpec,
    check_name,
    one_line,
)
from whyserve.model.text import text_readers

TRACED_ROWS = 3


@dataclass(frozen=True, slots=True, repr=False)
class Packaged:
    """A model that can be served. Prints as a short report."""

    folder: Path
    manifest: Manifest
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        manifest, spec = self.manifest, self.manifest.spec
        figures = manifest.certificate["methods"][manifest.certificate["default"]]
        if "samples" in manifest.certificate:
            figures = figures["within_budget"]
        inputs = ", ".join(f"{i.name} ({_count(i)})" for i in spec.inputs)
        lines = {
            "model": f"{spec.name}, version {spec.version}, from {spec.framework}, in {self.folder}",
            "takes": inputs,
            "returns": f"{', '.join(spec.output_names[:12])} ({spec.output.scores})",
            "served": f"within {manifest.parity.largest:.0e} of the original on {manifest.parity.rows} rows",
            "explained": f"by {manifest.certificate['default']}: {manifest.certificate['reason']}",
            "residual": f"{figures['residual']:.0e} of the output's scale, {figures['ms_per_row']:.2g} ms a row,"
            f" against {manifest.background_rows} background rows",
        }
        no = [f"{name}: {tried['why']}" for name, tried in manifest.certificate["methods"].items() if not tried["fits"]]
        text = [f"{key:<10} {words}" for key, words in lines.items()]
        return "\n".join([*text, *(f"{'note':<10} {note}" for note in (*self.notes, *no))])


def _count(item: InputSpec) -> str:
    if item.tokenizer:
        return f"text of {item.shape[0]} tokens"
    return f"{len(item.features)} features" if item.features else " × ".join(map(str, item.shape))


def package(
    model: Any,
    folder: str | os.PathLike[str],
    *,
    background: Any,
    labels: Sequence[str] = (),
    names: Sequence[str] = (),
    unit: str | None = None,
    features: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    kinds: Mapping[str, str] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    tokenizer: Any = None,
    description: str = "",
    source: str = "",
    version: int = 1,
    artifacts: str | os.PathLike[str] = "artifacts",
    budget_ms: float = 20,
) -> Packaged:
    """Write `folder` for a trained network, export it, and hold it to parity and the certificate.

    model: a torch nn.Module, a torch.export program or a Keras model. It is left as it is.
    background: rows of real data, (rows, …): an array, a dict of arrays or DataFrames by input name, or a DataFrame;
        of more than 100 rows, 100 drawn evenly are kept; medoids of package.backgrounds chooses few with care.
    labels, names: of a classification's outputs, or a regression's; needed where the outputs do not tell.
    features: the names of a table's columns, where no DataFrame tells; by input name where several are tables.
    units, groups: units by feature; lists of features that are explained as one, by the group's name.
    kinds: "tabular", "image", "sequence", "tokens" or "tensor" by input name, where the shape misleads.
    ranges: (black, white) of an image by input name: what the network takes the levels 0 and 255 of a picture for. As
        the background looks if left out: 0 to 1, 0 to 255, or its own least and greatest.
    tokenizer: of a network that reads text: a Tokenizer of the tokenizers library, or the path of its tokenizer.json.
        The background of that input is then texts, or their ids (rows, tokens).

    Raises ModelFault, InvalidInput, ParityFault, UnsupportedNetwork: one line that says what to change. Until all is
    well neither `folder` nor `artifacts` is touched.
    """
    folder = Path(folder)
    check_name(folder.name)
    network = network_of(model)
    text = read_texts(tokenizer, background, network, kinds or {})
    arrays, columns, table, notes = try_background(network, text.background)
    kinds = {**(kinds or {}), **text.kinds}
    inputs = [
        _input(name, arrays[name], columns.get(name), _named(features, name, network.names), kinds)
        for name in network.names
    ]
    for item in inputs:
        if item["name"] in text.kinds:
            item["tokenizer"] = TOKENIZER_FILE
    _refine(inputs, units or {}, groups or {})
    notes += _ranged(inputs, arrays, ranges or {})
    output = describe_output(table, list(map(str, labels)), list(map(str, names)), unit)
    described = {
        "name": folder.name,
        "version": version,
        "framework": "keras" if hasattr(network, "model") else "torch",
        "task": "classification" if "labels" in output else "regression",
        "description": description,
        "source": source,
        "inputs": inputs,
        "output": output,
    }
    try:
        spec = ModelSpec.model_validate(described)
    except ValidationError as error:
        raise ModelFault(f"{folder.name}: {one_line(error)}") from error
    files = network.files({name: np.resize(array, (TRACED_ROWS, *array.shape[1:])) for name, array in arrays.items()})
    files |= {SPEC_FILE: to_toml(described).encode(), **text.files}
    manifest = _written(folder, spec, files, arrays, text, artifacts=Path(artifacts), budget_ms=budget_ms)
    return Packaged(folder, manifest, notes)


def check(folder: str | os.PathLike[str], budget_ms: float = 20) -> Packaged:
    """What would be served from a model folder, and how it would be explained. Raises what `package` raises."""
    folder = Path(folder)
    with tempfile.TemporaryDirectory() as artifacts:
        return Packaged(folder, export_one(folder, Path(artifacts), budget_ms))


def network_of(model: Any) -> Any:
    """A torch or Keras network as packaging sees it. Raises InvalidInput, ModelFault."""
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Model):  # on the torch backend it is an nn.Module too
        from whyserve.export.package.keras import KerasModel  # noqa: PLC0415

        return KerasModel.of(model)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module | torch.export.ExportedProgram):
        from whyserve.export.package.torch import TorchModel  # noqa: PLC0415

        return TorchModel.of(model)
    raise InvalidInput(f"{type(model).__name__} is not a torch nn.Module, a torch.export program or a Keras model")


def _named(features: Any, name: str, inputs: Sequence[str]) -> Sequence[str] | None:
    if isinstance(features, Mapping):
        return features.get(name)
    return features if len(inputs) == 1 else None


def _input(
    name: str, array: np.ndarray, columns: Any, names: Sequence[str] | None, kinds: Mapping[str, str]
) -> dict[str, Any]:
    shape = array.shape[1:]
    kind = kinds.get(name) or kind_of(shape)
    described = {"name": name, "kind": kind, "dtype": str(array.dtype)}
    if kind != "tabular":
        return {**described, "shape": list(shape)}
    if names is not None and len(names) != shape[0]:
        raise InvalidInput(f'{len(names)} features are named for the {shape[0]} columns of "{name}"')
    if columns is None:
        columns = [{"name": str(n)} for n in (names or [f"{name}_{number}" for number in range(shape[0])])]
    if any("categories" in column for column in columns) and array.dtype.kind not in "iu":
        raise InvalidInput(
            f'categories stand in an input of integer dtype, and "{name}" is {array.dtype};'
            ' give them keras.Input(..., dtype="int64") of their own, or one-hot columns (pandas.get_dummies)'
        )
    return {**described, "features": columns}


def _ranged(inputs: list[dict[str, Any]], arrays: Arrays, ranges: Mapping[str, Any]) -> tuple[str, ...]:
    """Give each image its range; the notes of those that were guessed."""
    notes = []
    known = {item["name"]: item for item in inputs if item["kind"] == "image"}
    for name in ranges:
        if name not in known:
            raise InvalidInput(f'there is no image "{name}" to give a range')
    for name, item in known.items():
        item["range"] = [float(end) for end in ranges.get(name) or range_of(arrays[name])]
        if name not in ranges:
            black, white = item["range"]
            notes.append(f'a picture\'s black and white are taken for {black:g} and {white:g} in "{name}"')
    return tuple(notes)


def _refine(inputs: list[dict[str, Any]], units: Mapping[str, str], groups: Mapping[str, Sequence[str]]) -> None:
    """Put units and groups at their features."""
    features = {feature["name"]: feature for item in inputs for feature in item.get("features", ())}
    wanted = [("unit", name, unit) for name, unit in units.items()]
    wanted += [("group", name, group) for group, members in groups.items() for name in members]
    for what, name, value in wanted:
        if name not in features:
            raise InvalidInput(f'there is no feature "{name}" to give a {what}')
        features[name][what] = value


def _written(
    folder: Path,
    spec: ModelSpec,
    files: dict[str, bytes],
    arrays: Arrays,
    text: TextBackground,
    *,
    artifacts: Path,
    budget_ms: float,
) -> Manifest:
    """Export from a folder beside the real one, which takes its place file by file once all is well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".package-") as scratch:
        fresh = Path(scratch, folder.name)
        fresh.mkdir()
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        np.savez(fresh / spec.explain.background, **arrays)  # type: ignore[arg-type]  # numpy's stub again
        row = as_row(spec, arrays, 0, text_readers(spec, lambda name: files[name]))
        example = {"model": spec.name, "instances": [{**row, **text.example}]}
        (fresh / EXAMPLE_FILE).write_text(json.dumps(example, ensure_ascii=False) + "\n", encoding="utf-8")
        manifest = export_one(fresh, artifacts, budget_ms)
        folder.mkdir(exist_ok=True)
        for path in fresh.iterdir():
            os.replace(path, folder / path.name)
        for old in {KERAS_FILE, NETWORK_FILE, WEIGHTS_FILE, TOKENIZER_FILE} - set(files):
            (folder / old).unlink(missing_ok=True)
    return manifest
