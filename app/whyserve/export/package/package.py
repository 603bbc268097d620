"""`whyserve.package`: a trained network becomes a model folder that is exported, compared with the original and
certified. `whyserve check` does the same for an existing folder, without leaving an artifact.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from whyserve.errors import InvalidInput, ModelFault
from whyserve.export.build import export_one
from whyserve.export.package.checks import background_notes, check_place, check_replacement
from whyserve.export.package.folder import to_toml, write_folder
from whyserve.export.package.given import check_arguments
from whyserve.export.package.ids import token_inputs
from whyserve.export.package.inputs import describe_inputs
from whyserve.export.package.output_choice import OutputChoice
from whyserve.export.package.outputs import describe_output
from whyserve.export.package.prepare import prepare
from whyserve.export.package.report import Packaged
from whyserve.export.package.upload import uploaded
from whyserve.export.progress import step, steps_shown
from whyserve.model.input_spec import one_line
from whyserve.model.methods import BUDGET_MAX_MS, BUDGET_MS
from whyserve.model.spec import SPEC_FILE, ModelSpec, Task, check_name
from whyserve.remote import is_address


@steps_shown()
def package(
    model: Any,
    folder: str | os.PathLike[str],
    *,
    background: Any,
    labels: Sequence[str] = (),
    names: Sequence[str] = (),
    unit: str | None = None,
    output: Any = None,
    reduce: Any = None,
    task: Task | None = None,
    thresholds: Mapping[str, float] | Sequence[float] | float | None = None,
    features: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    categories: Mapping[str, Sequence[str]] | None = None,
    missing: Mapping[str, Any] | None = None,
    kinds: Mapping[str, str] | None = None,
    ranges: Mapping[str, Sequence[Any]] | None = None,
    tokenizer: Any = None,
    preprocess: Any = None,
    description: str = "",
    source: str = "",
    version: int = 1,
    artifacts: str | os.PathLike[str] = "artifacts",
    budget_ms: float = BUDGET_MS,
    budget_max_ms: float = BUDGET_MAX_MS,
    expected: Any = None,
    overwrite: bool = False,
) -> Packaged:
    """Write a model folder for a trained network, export it, compare the export with the original and certify it.

    model: a torch nn.Module, a torch.export program, a Keras model, or an ONNX model: an onnx.ModelProto, the path of
        an .onnx file, its address in an object store (s3://… or hf://…), or its bytes. It is not changed. A network
        with half precision is served in float32; TorchScript is served as torch converts it.
    folder: the folder to write, or its address in an object store. Its name becomes the name of the model.
    background: rows of real data, (rows, …): an array, a DataFrame, or a dict of them by input name. If there are more
        than 100 rows, 100 rows drawn at random are used; `medoids` chooses representative rows instead.
        Arguments of the network with a default value are inputs if the background names them.
        Columns of text or of a categorical dtype are categories. They are numbered in the order of `categories` or of
        the categorical dtype. It must be the order that the network was trained with. Lookup layers of Keras state it.
    labels: the labels of a classification. names: the output names of a regression. One of the two is needed unless the
        network returns probabilities of several labels, which get numbers, or one value per row.
    unit: the unit of the outputs of a regression.
    output: of a network that returns several tensors, the name or the number of the one to predict and explain, such as
        "logits", 0 or "heads.1". A list of these, or a mapping of names to them, is joined along the last axis; `names`
        are then the names of the heads.
    reduce: how a map, (rows, steps, outputs) or one of an image, becomes numbers per row. "mean", "max", "min" or "sum"
        over the positions; {"mean": region} over some of them: a mask of the positions or a slice for each axis;
        {"step": -1}: one position; "error": the mean squared difference from the input of the same shape, or from the
        one that {"error": name} names. The positions are the steps, or height and width;
        {"mean": None, "axes": [2]} names other axes.
    task: "multilabel" if each of `labels` has a yes or no of its own. thresholds: of multilabel, the probability from
        which a label is on, for all labels, by label, or in their order. Default: 0.5.
    features: the names of the columns of an input that is not given as a DataFrame, by input name if there are several
        inputs.
    units: the unit of a feature, by feature name.
    groups: lists of features that are explained as one player, by the name of the group.
    categories: of a text column, every category in the order of training, by the name of the column.
    missing: of a column of a DataFrame, by its name, what becomes of a missing value, which requests send as null: True
        hands the network NaN, or for a category the code after the last one; "median", "mean", "mode" or a value is
        filled in, here and by the service.
    kinds: "tabular", "image", "sequence", "tokens" or "tensor", by input name, if the kind is not clear from the shape.
    ranges: the numbers that the network takes for (black, white) of an image, or a pair of them for each channel, by
        input name. After torchvision's Normalize, a channel's pair is (-mean / std, (1 - mean) / std). Default: a
        guess from the background: 0 to 1, 0 to 255, or the minimum and maximum.
    tokenizer: of a network that takes text: a Tokenizer of the tokenizers library, a fast tokenizer of transformers,
        or the path or the address of a tokenizer.json. The background of that input is texts, or ids of shape
        (rows, tokens).
        attention_mask and token_type_ids are computed from the ids: 1 where the id is not padding, and 0.
    preprocess: of a network that takes transformed rows: the fitted scikit-learn scaler, encoder, imputer,
        ColumnTransformer or Pipeline. It becomes layers in front of the network, and `background` holds the raw rows.
        An encoder states its categories, and an encoded column is one feature, which requests carry as a string.
    description, source, version: facts for the users of the model.
    artifacts: the folder for the exported model.
    budget_ms: the time in ms per row that the default explanation method may take. budget_max_ms: the time that it may
        take if no faster method is reliable.
    expected: the original's answers for the rows of the background, (rows,) or (rows, outputs), or a function that
        gives them for the background. They are compared with what requests get.
    overwrite: replace a folder that holds a model with other inputs, other outputs or another framework.

    Raises ModelFault, InvalidInput, ParityFault or UnsupportedNetwork, with one line that says what to change. In that
    case `folder` and `artifacts` are unchanged. Raises ConfigurationError if an object store cannot be read or written;
    `artifacts` may then have the new export.
    """
    given = locals()
    check_arguments(given)
    check_name(Path(folder).name)
    check_place(folder)
    if is_address(folder):
        with uploaded(str(folder)) as copy:
            done = package(**{**given, "folder": copy})
        return replace(done, folder=str(folder))
    if len(labels) and len(names):
        raise InvalidInput("labels are of a classification and names of a regression; give one of the two")
    folder, artifacts = Path(folder), Path(artifacts)
    step(f"{folder.name}: running the network on the background")
    choice = OutputChoice(output, reduce)
    prepared = prepare(
        model, background, choice=choice, tokenizer=tokenizer, kinds=kinds or {}, categories=categories or {},
        preprocess=preprocess, features=features, missing=missing or {},
    )  # fmt: skip
    tried, text, origin = prepared.tried, prepared.text, prepared.origin
    network, arrays = tried.network, tried.arrays
    tokens = {} if features else token_inputs(network, arrays, tried.columns)
    inputs, guesses = describe_inputs(
        tried, features if preprocess is None else None, units=units or {}, groups=groups or {},
        kinds={**tokens, **(kinds or {})}, ranges=ranges or {}, texts=text.kinds,
    )  # fmt: skip
    described = {
        "name": folder.name,
        "version": version,
        "framework": network.framework,
        "description": description,
        "source": source or origin,
        "inputs": inputs,
        **describe_output(tried, labels, list(names) or choice.heads, unit, task=task, thresholds=thresholds),
    }
    if hasattr(network, "precision") and (precision := network.precision(arrays)):
        described["precision"] = precision
    try:
        spec = ModelSpec.model_validate(described)
    except ValidationError as error:
        raise ModelFault(f"{folder.name}: {one_line(error)}") from error
    if not overwrite:
        check_replacement(folder, spec)
    compared = prepared.compare(spec, expected)
    step(f"{folder.name}: tracing the network")
    files = network.files(arrays) | {SPEC_FILE: to_toml(described).encode(), **text.files}
    budgets_ms = (budget_ms, budget_max_ms)
    manifest = write_folder(folder, spec, files, arrays, text.example, artifacts=artifacts, budgets_ms=budgets_ms)
    origins = (f"from {origin}",) if origin else ()
    notes = origins + tried.notes + guesses + compared + background_notes(spec, tried)
    return Packaged.of(folder, manifest, artifacts, notes)


@steps_shown()
def check(
    folder: str | os.PathLike[str], budget_ms: float = BUDGET_MS, budget_max_ms: float = BUDGET_MAX_MS
) -> Packaged:
    """Export a model folder to a temporary place and report the result. Raises the errors of `package`."""
    with tempfile.TemporaryDirectory() as artifacts:
        manifest = export_one(Path(folder), Path(artifacts), budget_ms, budget_max_ms)
        return Packaged.of(Path(folder), manifest, Path(artifacts))
