"""Which decision about a row is to become another one, and the counterfactuals as an answer has them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from whyserve.errors import InvalidInput
from whyserve.model.changes import Change, check_changes
from whyserve.model.input_spec import one_line
from whyserve.model.outputs import Outputs
from whyserve.model.rows import Arrays, Row, as_row, each_row
from whyserve.model.spec import ModelSpec
from whyserve.predict.counterfactuals import CHUNK, MOST_CHANGED, Search

Decision = tuple[str, float | None]
"""An output, and the number that it is at least; None: it is the most likely label, or it is on."""
# Rows of a request, and counterfactuals of each.
MOST_ROWS, MOST_COUNT = 10, 10
SEARCH_S, LONGEST_SEARCH_S = 1.0, 10.0


@with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, title="CounterfactualOptions"))
class Options(TypedDict, total=False):
    """What to search for, and within which limits."""

    output: Annotated[
        str,
        Field(description="The output that decides. Default: that of [reasons] in model.toml, or each row's label."),
    ]
    threshold: Annotated[
        float,
        Field(description="The decision is that the output is at least this number, or not. Default: model.toml's."),
    ]
    count: Annotated[int, Field(ge=1, le=MOST_COUNT, description="Per instance. Default: 1.")]
    most_changed: Annotated[
        int, Field(ge=1, le=MOST_CHANGED, description=f"Features that change at most. Default: {MOST_CHANGED}.")
    ]
    changes: Annotated[dict[str, Change], Field(description="How features may change, beside what model.toml says.")]
    deadline_s: Annotated[
        float,
        Field(
            gt=0,
            le=LONGEST_SEARCH_S,
            description=f"Of the search of one instance, in seconds. Default: {SEARCH_S:g}.",
        ),
    ]


OPTIONS: TypeAdapter[Options] = TypeAdapter(Options)


def decision_of(spec: ModelSpec, options: Options, label: str | None) -> Decision:
    """The decision that a request names; by default that of [reasons], then the row's own label.

    Raises InvalidInput without one.
    """
    reasons = spec.reasons
    if "output" not in options and "threshold" not in options and reasons:
        return reasons.against, reasons.threshold
    only = spec.output_names[0] if len(spec.output_names) == 1 else None
    output = options.get("output") or only or (None if "threshold" in options else label)
    threshold = options.get("threshold")
    if output is None:
        raise InvalidInput('"output" is missing: it names the output that decides', field="output")
    if output not in spec.output_names:
        known = ", ".join(spec.output_names[:20])
        raise InvalidInput(f'"output" must be an output of this model; available outputs: {known}', field="output")
    if threshold is None and spec.task == "regression":
        raise InvalidInput('"threshold" is missing: it decides for a regression', field="threshold")
    return output, threshold


def check_options(spec: ModelSpec, options: Options) -> Options:
    """The same options. Raises InvalidInput, which names the place, if they do not fit the model."""
    if not spec.is_table:
        words = f"{spec.name} has no counterfactuals: they need a model whose inputs are all tabular"
        raise InvalidInput(words, field="model")
    check_changes(spec, options.get("changes", {}), "changes")
    decision_of(spec, options, spec.output_names[0] if spec.task == "classification" else None)
    return options


def read_options(spec: ModelSpec, given: dict[str, Any]) -> Options:
    """Options of a program, not of a request. Raises InvalidInput, which names the place."""
    try:
        plain = {key: each.item() if isinstance(each, np.generic) else each for key, each in given.items()}
        return check_options(spec, OPTIONS.validate_python(plain))
    except ValidationError as error:
        raise InvalidInput(one_line(error)) from None


@dataclass(frozen=True, slots=True)
class Deciding:
    """A model that decides. run: rows by input → the network's columns, (rows, columns).

    predict: an instance of a request → the same, (1, columns). It verifies each row that is found.
    filled: replaces missing values in rows by input, as the network gets them. chunk: rows in one pass.
    """

    search: Search
    outputs: Outputs
    run: Callable[[Arrays], np.ndarray]
    predict: Callable[[Row], np.ndarray]
    filled: Callable[[Arrays], Arrays]
    chunk: int = CHUNK

    def all(self, rows: Arrays, options: Options) -> list[dict[str, Any]]:
        """The answer for each row."""
        return [counterfactuals(self, row, options) for row in each_row(rows)]


def counterfactuals(model: Deciding, row: Arrays, options: Options) -> dict[str, Any]:
    """The rows near `row` (1, …) that the model decides otherwise, with the facts of the search.

    Raises InvalidInput.
    """
    search, outputs, began = model.search, model.outputs, time.monotonic()
    spec, start = search.spec, model.filled(row)
    prediction = outputs.predictions(table := model.run(start))[0]
    output, threshold = decision_of(spec, options, prediction.get("label"))
    sign = 1 if outputs.margins(output, table, threshold)[0] >= 0 else -1

    def crosses(rows: Arrays) -> np.ndarray:
        table = model.run(rows)
        is_finite = np.isfinite(table).all(axis=1)
        margins = np.full(len(table), np.inf)
        margins[is_finite] = sign * outputs.margins(output, table[is_finite], threshold)
        return margins

    most = options.get("most_changed", MOST_CHANGED)
    found = search(
        start,
        crosses,
        [spec.counterfactual.changes, options.get("changes", {})],
        count=options.get("count", 1),
        most_changed=most,
        deadline=began + options.get("deadline_s", SEARCH_S),
        chunk=model.chunk,
    )
    listed = []
    instance, own = as_row(spec, row, 0), as_row(spec, start, 0)
    for changed, distance in zip(found.rows, found.distances, strict=True):
        new = as_row(spec, search.distances.arrays(changed[None]), 0)
        changes = {key: value for key, value in new.items() if value != own[key]}
        other = {**instance, **changes}
        again = model.predict(other)
        if sign * outputs.margins(output, again, threshold)[0] >= 0:
            continue
        each = {"changes": changes, "instance": other, "prediction": outputs.predictions(again)[0]}
        unusual = float(search.distances.more_unusual(changed[None])[0])
        listed.append({**each, "distance": float(distance), "more_unusual_share": unusual, **_nearest(search, changed)})
    words = f"none found within {most} changed features, {found.tried} rows and {time.monotonic() - began:.2f} s"
    return {
        "prediction": prediction,
        "output": output,
        "found": listed,
        "tried": found.tried,
        "complete": found.complete,
        **({} if listed else {"none": words}),
    }


def _nearest(search: Search, changed: np.ndarray) -> dict[str, Any]:
    """The nearest background row, if it may be shown."""
    if not search.spec.explain.show_background:
        return {}
    distances = search.distances.to_background(changed[None])[0]
    row = int(distances.argmin())
    instance = as_row(search.spec, search.distances.arrays(search.distances.background[row : row + 1]), 0)
    return {"nearest_background": {"row": row, "distance": float(distances[row]), "instance": instance}}
