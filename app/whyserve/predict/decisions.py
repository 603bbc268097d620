"""Which decision about a row is to become another one, and the counterfactuals as an answer has them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.model.changes import check_changes
from whyserve.model.outputs import Outputs
from whyserve.model.rows import Arrays, Row, as_row
from whyserve.model.spec import ModelSpec
from whyserve.predict.counterfactuals import CHUNK, MOST_CHANGED, Search

Decision = tuple[str, float | None]
"""An output, and the number that it is at least; None: it is the most likely label, or it is on."""
SEARCH_S = 1.0


def decision_of(spec: ModelSpec, options: Mapping[str, Any], label: str | None) -> Decision:
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
    if threshold is None and spec.task == "regression":
        raise InvalidInput('"threshold" is missing: it decides for a regression', field="threshold")
    return output, threshold


def check_options(spec: ModelSpec, options: Mapping[str, Any]) -> None:
    """Raises InvalidInput for options of a search that do not fit the model."""
    check_changes(spec, options.get("changes", {}), "changes")
    decision_of(spec, options, spec.output_names[0] if spec.task == "classification" else None)


@dataclass(frozen=True, slots=True)
class Deciding:
    """A model that decides. run: rows by input → the network's columns, (rows, columns).

    predict: an instance of a request → the same, (1, columns). It verifies each row that is found.
    filled: replaces missing values in rows by input, as the network gets them.
    """

    search: Search
    outputs: Outputs
    run: Callable[[Arrays], np.ndarray]
    predict: Callable[[Row], np.ndarray]
    filled: Callable[[Arrays], Arrays]


def counterfactuals(
    model: Deciding, row: Arrays, options: Mapping[str, Any], deadline: float, chunk: int = CHUNK
) -> dict[str, Any]:
    """The rows near `row` (1, …) that the model decides otherwise, with the facts of the search.

    options: output, threshold, count, most_changed, changes. deadline: in the time of time.monotonic().
    Raises InvalidInput.
    """
    search, outputs, began = model.search, model.outputs, time.monotonic()
    spec, start = search.spec, model.filled(row)
    prediction = outputs.predictions(table := model.run(start))[0]
    output, threshold = decision_of(spec, options, prediction.get("label"))
    sign = 1 if outputs.margins(output, table, threshold)[0] >= 0 else -1

    def crosses(rows: Arrays) -> np.ndarray:
        return sign * outputs.margins(output, model.run(rows), threshold)

    most = options.get("most_changed", MOST_CHANGED)
    found = search(
        start,
        crosses,
        [spec.counterfactual.changes, options.get("changes", {})],
        count=options.get("count", 1),
        most_changed=most,
        deadline=deadline,
        chunk=chunk,
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
        listed.append({**each, "distance": float(distance), **_nearest(search, changed)})
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
    instance = as_row(search.spec, search.distances.arrays(search.background[row : row + 1]), 0)
    return {"nearest_background": {"row": row, "distance": float(distances[row]), "instance": instance}}
