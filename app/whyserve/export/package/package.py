"""`whyserve.package`: a trained network becomes a model folder that is exported, compared with the original and
certified. `whyserve check` does the same for an existing folder, without leaving an artifact.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from whyserve.errors import ModelFault
from whyserve.export.build import export_one
from whyserve.export.package.checks import (
    background_notes,
    check_codes,
    check_expected,
    check_place,
    check_replacement,
    describe_answers,
)
from whyserve.export.package.folder import write_folder
from whyserve.export.package.inputs import describe_inputs
from whyserve.export.package.network import as_served, network_of
from whyserve.export.package.outputs import describe_output
from whyserve.export.package.report import Packaged
from whyserve.export.package.text import read_texts
from whyserve.export.package.toml import to_toml
from whyserve.export.package.trials import try_background
from whyserve.model.spec import SPEC_FILE, ModelSpec, check_name, one_line
from whyserve.model.text import text_readers


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
    categories: Mapping[str, Sequence[str]] | None = None,
    kinds: Mapping[str, str] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    tokenizer: Any = None,
    description: str = "",
    source: str = "",
    version: int = 1,
    artifacts: str | os.PathLike[str] = "artifacts",
    budget_ms: float = 20,
    expected: Any = None,
    overwrite: bool = False,
) -> Packaged:
    """Write a model folder for a trained network, export it, compare the export with the original and certify it.

    model: a torch nn.Module, a torch.export program or a Keras model. It is not changed.
    folder: the folder to write. Its name becomes the name of the model.
    background: rows of real data, (rows, …): an array, a DataFrame, or a dict of them by input name. If there are more
        than 100 rows, 100 rows drawn at random are used; `medoids` chooses representative rows instead.
        Columns of text or of a categorical dtype are categories. They are numbered in the order of `categories` or of
        the categorical dtype. It must be the order that the network was trained with. Lookup layers of Keras state it.
    labels: the labels of a classification. names: the output names of a regression. One of the two is needed unless the
        network returns probabilities of several labels, which get numbers, or one value per row.
    unit: the unit of the outputs of a regression.
    features: the names of the columns of an input that is not given as a DataFrame, by input name if there are several
        inputs.
    units: the unit of a feature, by feature name.
    groups: lists of features that are explained as one player, by the name of the group.
    categories: of a text column, every category in the order of training, by the name of the column.
    kinds: "tabular", "image", "sequence", "tokens" or "tensor", by input name, if the kind is not clear from the shape.
    ranges: the numbers that the network takes for (black, white) of an image, by input name. Default: a guess from the
        background: 0 to 1, 0 to 255, or the minimum and maximum.
    tokenizer: of a network that takes text: a Tokenizer of the tokenizers library, or the path of a tokenizer.json.
        The background of that input is texts, or ids of shape (rows, tokens).
    description, source, version: facts for the users of the model.
    artifacts: the folder for the exported model.
    budget_ms: the time in ms per row that the default explanation method may take.
    expected: the original's answers for the rows of the background, (rows,) or (rows, outputs), or a function that
        gives them for the background. They are compared with what requests get.
    overwrite: replace a folder that holds a model with other inputs, other outputs or another framework.

    Raises ModelFault, InvalidInput, ParityFault or UnsupportedNetwork, with one line that says what to change. In that
    case `folder` and `artifacts` are unchanged.
    """
    folder = Path(folder)
    check_name(folder.name)
    check_place(folder)
    network = network_of(model)
    front, origin = getattr(network, "front", None), getattr(network, "origin", "")
    given = as_served(network, background, categories or {})
    stated = front.texts if front else {}
    text = read_texts(next(iter(stated.values()), tokenizer), given, network, kinds or dict.fromkeys(stated, "tokens"))
    tried = try_background(network, text.background, categories=categories or {})
    arrays, columns, table = tried.arrays, tried.columns, tried.table
    check_codes(network, arrays, columns)
    inputs, guesses = describe_inputs(
        arrays,
        columns,
        features=features,
        units=units or {},
        groups=groups or {},
        kinds=kinds or {},
        ranges=ranges or {},
        texts=text.kinds,
    )
    output = describe_output(table, list(map(str, labels)), list(map(str, names)), unit)
    described = {
        "name": folder.name,
        "version": version,
        "framework": network.framework,
        "task": "classification" if "labels" in output else "regression",
        "description": description,
        "source": source or origin,
        "inputs": inputs,
        "output": output,
    }
    try:
        spec = ModelSpec.model_validate(described)
    except ValidationError as error:
        raise ModelFault(f"{folder.name}: {one_line(error)}") from error
    if not overwrite:
        check_replacement(folder, spec)
    readers = text_readers(spec, lambda name: text.files[name])
    for truth in (expected, front and front.answers):
        if truth is not None:
            check_expected(truth, background, tried, network, spec=spec, readers=readers)
    files = network.files(arrays)
    files |= {SPEC_FILE: to_toml(described).encode(), **text.files}
    manifest = write_folder(folder, spec, files, arrays, text.example, artifacts=Path(artifacts), budget_ms=budget_ms)
    notes = background_notes(columns, table, lambda each: describe_answers(spec, each))
    return Packaged(folder, manifest, (*([f"from {origin}"] if origin else []), *tried.notes, *guesses, *notes))


def check(folder: str | os.PathLike[str], budget_ms: float = 20) -> Packaged:
    """Export a model folder to a temporary place and report the result. Raises the errors of `package`."""
    folder = Path(folder)
    with tempfile.TemporaryDirectory() as artifacts:
        return Packaged(folder, export_one(folder, Path(artifacts), budget_ms))
