"""What `package` checks before it writes anything: the folder, the codes of categories, the caller's own answers."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput, ModelFault, first_line
from whyserve.export.comparison import largest_gap
from whyserve.export.package.pictures import with_pictures
from whyserve.export.package.trials import Tried
from whyserve.export.stages.ids import id_limit, taker
from whyserve.model.image import Pictures
from whyserve.model.outputs import Outputs
from whyserve.model.rows import Arrays, RowReader, as_row
from whyserve.model.spec import SPEC_FILE, ModelSpec, read_spec
from whyserve.model.text import TextReader

# No embedding of categories has more entries.
MOST_CODES = 1 << 20
# As a share of the output's scale: far above rounding, far below a wrong category.
EXPECTED_BOUND = 1e-3
# A background whose output varies less, as a share of its scale, is probably not what the network was trained on.
CONSTANT = 1e-4


def check_place(place: str | os.PathLike[str]) -> None:
    """Raises ModelFault if the service would not find the folder: it looks one level below its folder of models.

    place: a path or an address. An address is compared as if it were a path, which gives the same answer.
    """
    folder = Path(place)
    if folder.is_file():
        raise ModelFault(f"{folder.name} is a file; choose the path of a folder")
    models = Path(os.environ.get("WHYSERVE_MODELS", "models")).resolve()
    inside = folder.resolve()
    if models in inside.parents and inside.parent != models:
        raise ModelFault(
            f"{place}: the service looks for models directly in {models.name}/; use {models.name}/{folder.name}"
        )


def check_replacement(folder: Path, spec: ModelSpec) -> None:
    """Raises ModelFault if the folder holds another model: other inputs, outputs or another framework."""
    if not (folder / SPEC_FILE).exists():
        return
    try:
        old = read_spec(folder)
    except ModelFault as fault:
        raise ModelFault(f"{fault.message}; the folder would be replaced: pass overwrite=True to do so") from fault
    facts = {
        "framework": (old.framework, spec.framework),
        "inputs": (old.keys, spec.keys),
        "categories": (old.categories, spec.categories),
        "outputs": (old.output_names, spec.output_names),
    }
    if different := [name for name, (before, now) in facts.items() if before != now]:
        raise ModelFault(
            f"{folder.name}: the folder holds a model with other {' and '.join(different)}; choose another folder, or"
            " pass overwrite=True to replace it"
        )


def check_codes(network: Any, arrays: Arrays, columns: Mapping[str, list[dict[str, Any]]]) -> None:
    """Raises InvalidInput if an embedding has another number of entries than its column has categories.

    The number is found by running the network on the first row with other codes, which works for any lookup.
    """
    stated = getattr(getattr(network, "front", None), "lookups", ())  # a lookup layer states its own codes
    for name, features in columns.items():
        for place, feature in enumerate(features if name not in stated else ()):
            count = len(feature.get("categories", ()))
            if not count:
                continue
            count += feature.get("missing") is True
            takes = taker(network.run, arrays, name, place)
            limit = id_limit(takes, int(arrays[name][:, place].max()), MOST_CODES)
            if limit is not None and limit != count:
                also = ", one of them for missing values" if feature.get("missing") is True else ""
                raise InvalidInput(
                    f'column "{feature["name"]}" has {count} categories{also}, but the network takes the codes 0 to'
                    f' {limit - 1}; pass categories={{"{feature["name"]}": […]}} with all {limit} categories,'
                    " in the order that the network was trained with"
                )


def check_expected(
    expected: Any, given: Any, tried: Tried, *, spec: ModelSpec, readers: Mapping[str, TextReader]
) -> tuple[str, ...]:
    """Compare the caller's own answers with what requests get for the same rows.

    expected: (rows,) or (rows, outputs), the original's answers for all given rows, or a function of the background
        as given. tried: the rows of the background that are used.
    Each row goes the way of a request: as an instance, with categories by name and images as PNG, and back into arrays.
    Returns notes on what could not be compared. Raises InvalidInput, ModelFault.
    """
    kept = tried.kept
    answers = _answers(expected, given)
    instances = [as_row(spec, tried.arrays, row, readers) for row in range(len(kept))]
    # A background may hold the empty text, which a request may not.
    asked = np.array([all(reader.knows(each[name]) for name, reader in readers.items()) for each in instances], bool)
    kept, instances = kept[asked], [each for each, known in zip(instances, asked, strict=True) if known]
    pictures, notes = with_pictures(spec, {name: a[asked] for name, a in tried.arrays.items()}, instances)
    for what, rows in (("a request", instances), ("a request with pictures", pictures)):
        if rows is not None:
            read = RowReader(spec, readers)(Pictures(spec)(rows))
            table = np.asarray(tried.network.run(read), np.float64).reshape(len(kept), -1)
            _compare(what, table, answers, kept, spec)
    return notes


def _answers(expected: Any, given: Any) -> np.ndarray:
    """(rows, outputs). Raises InvalidInput."""
    try:
        answers = expected(given) if callable(expected) else expected
    except Exception as error:
        raise InvalidInput(f"expected is a function that fails on the background: {first_line(error)}") from error
    try:
        table = np.asarray(answers.detach().cpu() if hasattr(answers, "detach") else answers, np.float64)
        return table.reshape(len(table), -1)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            "expected must be the scores of the original for the rows of the background, (rows,) or (rows, outputs):"
            " numbers, not labels"
        ) from error


def _compare(what: str, table: np.ndarray, answers: np.ndarray, kept: np.ndarray, spec: ModelSpec) -> None:
    if len(answers) <= kept.max() or answers.shape[1] not in {table.shape[1], len(spec.output_names)}:
        raise InvalidInput(
            f"expected has shape {answers.shape}; ({kept.max() + 1} or more rows, {table.shape[1]} outputs) is needed"
        )
    if answers.shape[1] != table.shape[1]:
        table = Outputs(spec, table.shape[1]).scores(table)
    share, row, column = largest_gap(answers[kept], table)
    if share > EXPECTED_BOUND:
        raise ModelFault(
            f"row {int(kept[row])} of the background: {what} gets {table[row, column]:.6g} for output {column},"
            f" but expected has {answers[kept][row, column]:.6g}; check the order of the columns, the order of the"
            " categories, and whether the rows are scaled as in training"
        )


def background_notes(spec: ModelSpec, tried: Tried) -> tuple[str, ...]:
    """What people should know of a background."""
    table, rows = tried.table, len(tried.table)
    notes = [_answers_text(spec, table)]
    if rows == 1:
        notes.append("the background has one row: each attribution is a difference from this row alone")
    for feature in (feature for features in tried.columns.values() for feature in features):
        count = len(feature.get("categories", ()))
        if count >= rows > 2:
            notes.append(f'column "{feature["name"]}" has {count} categories in {rows} rows: is it an identifier?')
    spread, scale = float(np.ptp(table.astype(np.float64), axis=0).max()), max(float(np.abs(table).max()), 1e-30)
    if rows > 1 and spread < CONSTANT * scale:
        notes.append(
            "the output is nearly the same for every row of the background: are the rows scaled as in training?"
        )
    return tuple(notes)


def _answers_text(spec: ModelSpec, table: np.ndarray) -> str:
    """How many rows get each label; of a regression, the range of each output."""
    if spec.task == "regression":
        ranges = zip(spec.output_names, table.min(0), table.max(0), strict=True)
        return "on the background: " + ", ".join(f"{name} {low:.4g} to {high:.4g}" for name, low, high in ranges)
    counted = zip(spec.output_names, Outputs(spec, table.shape[1]).on(table).sum(axis=0), strict=True)
    words = f"labels of the {len(table)} background rows: " + ", ".join(f"{name} {count}" for name, count in counted)
    probabilities = spec.task == "classification" and spec.output.scores == "probabilities" and table.shape[1] > 1
    if probabilities and not np.allclose(table.sum(1), 1, atol=0.01):
        words += '; the scores do not sum to 1: if several labels can be on together, pass task="multilabel"'
    return words
